/**
 * What the layers of a transformer share in the forward pass of one batch: its layout, masks,
 * rotations and tables of relative positions.
 */
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { type FusedRows, hasFused } from '../../tensor/fused.ts';
import { type Angles, anglesOf } from './attention.ts';
import type { Attention, RelativeTable, Rotary, Transformer } from './families/description.ts';
import { type Layout, maskOf, rowsOf } from './layout.ts';
import { openRelative, type RelativeRows } from './relative.ts';
import type { ForwardContext } from './types.ts';

/** A model's description, and the name of its token table. */
export interface Body {
  readonly model: Transformer;
  readonly tokenTable: string;
}

/** What the layers of one batch share. */
export interface Pass {
  readonly model: Transformer;
  readonly tokenTable: string;
  readonly context: ForwardContext;
  readonly layout: Layout;
  /** The masks by kind of attention, of all tokens and of those that the head reads. */
  readonly masks: ReadonlyMap<string, Tensor4D | null>;
  /** Where the tokens stand for those layers whose attention is one operation, by `last`. */
  readonly rows: ReadonlyMap<boolean, FusedRows>;
  readonly angles: ReadonlyMap<Rotary, { readonly all: Angles; readonly read: Angles }>;
  readonly tables: ReadonlyMap<RelativeTable, RelativeRows>;
  /** The rate and stream of dropout where this model applies it; undefined elsewhere. */
  readonly dropping: (place: Transformer['dropout'][number]) => ForwardContext['dropout'];
}

export const maskKey = ({ causal, window, heads, kvHeads }: Attention, last: boolean): string =>
  JSON.stringify([causal, window ?? null, heads / kvHeads, last]);

export const isLast = ({ model }: Body, i: number): boolean => i === model.layers.length - 1;

const droppedAt = (
  { model }: Body,
  { dropout: dropped }: ForwardContext,
  place: Transformer['dropout'][number],
): ForwardContext['dropout'] => (model.dropout.includes(place) ? dropped : undefined);

/** Whether the attention of a layer is computed by one operation: it only scales and masks. */
export const isFused = (body: Body, context: ForwardContext, { relative }: Attention): boolean =>
  hasFused() &&
  context.cache === undefined &&
  relative === undefined &&
  droppedAt(body, context, 'attention') === undefined;

/** Makes the tensors that layers share, which must outlive the scope of a layer. */
export function openPass(body: Body, context: ForwardContext, layout: Layout): Pass {
  const { model, tokenTable } = body;
  context.cache?.open(layout.all);
  const masks = new Map<string, Tensor4D | null>(),
    angles = new Map<Rotary, { all: Angles; read: Angles }>(),
    tables = new Map<RelativeTable, RelativeRows>(),
    rows = new Map<boolean, FusedRows>();
  model.layers.forEach(({ attention: own }, i) => {
    const last = isLast(body, i),
      key = maskKey(own, last);
    const queries = last ? layout.read : layout.all,
      groups = own.heads / own.kvHeads;
    if (isFused(body, context, own)) {
      if (!rows.has(last)) rows.set(last, rowsOf(layout, queries));
    } else if (!masks.has(key))
      masks.set(
        key,
        context.cache === undefined
          ? maskOf(layout, queries, own, groups)
          : context.cache.mask(queries, own, groups),
      );
    if (own.rotary !== undefined && !angles.has(own.rotary)) {
      const all = anglesOf(own.rotary, layout.all.places);
      const read = layout.read.index === null ? all : anglesOf(own.rotary, layout.read.places);
      angles.set(own.rotary, { all, read });
    }
    const table = own.relative?.table;
    if (table !== undefined && context.cache !== undefined)
      throw new Error('generation with relative positions is not implemented');
    if (table !== undefined && !tables.has(table))
      tables.set(table, openRelative(table, layout, context));
  });
  return {
    model,
    tokenTable,
    context,
    layout,
    masks,
    rows,
    angles,
    tables,
    dropping: (place) => droppedAt(body, context, place),
  };
}
