/**
 * Concatenates small tensors, so that an optimiser's update takes a dozen operations instead of a
 * dozen for each tensor. Every update rule here is elementwise, so grouping does not change any
 * result.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../base/lookup.ts';
import { joined, separated } from '../../../tensor/join.ts';
import type { Tensors } from './types.ts';

/**
 * From this many entries on, the arithmetic outweighs the dispatch, and a copy would cost more than
 * it saves.
 */
const LARGE = 1 << 16;

interface Group {
  readonly names: readonly string[];
  /** The axis along which the tensors are concatenated; they agree in the other one. */
  readonly axis: 0 | 1;
  /** Each tensor's extent along the axis. */
  readonly extents: readonly number[];
}

export interface Grouping {
  /** One new tensor for each group, by group key. A group of one tensor is another handle on it. */
  readonly pack: (tensors: Tensors) => Map<string, Tensor>;
  /** New tensors by name, split from their groups. */
  readonly unpack: (groups: Tensors) => Map<string, Tensor>;
}

/**
 * Returns a tensor's group and axis. LoRA's factors A (r, n) are concatenated along n, its factors
 * B (m, r) along m, and biases and norms end to end.
 */
function place(name: string, shape: readonly number[], size: number): { key: string; axis: 0 | 1 } {
  const [rows, columns] = shape;
  if (size >= LARGE || shape.length > 2 || rows === undefined) return { key: name, axis: 0 };
  if (columns === undefined) return { key: '(·)', axis: 0 };
  return rows <= columns ? { key: `(${rows}, ·)`, axis: 1 } : { key: `(·, ${columns})`, axis: 0 };
}

/**
 * Groups tensors with the shapes of `parameters`.
 * @param kind prefix of the group's key: tensors of different kinds never share a group
 */
export function makeGrouping(
  parameters: Tensors,
  kind: (name: string) => string = () => '',
): Grouping {
  const gathered = new Map<string, { names: string[]; axis: 0 | 1; extents: number[] }>();
  for (const [name, { shape, size }] of parameters) {
    const { key: like, axis } = place(name, shape, size),
      key = `${kind(name)}${like}`;
    const group = gathered.get(key) ?? { names: [], axis, extents: [] };
    group.names.push(name);
    group.extents.push(shape[axis] ?? 1);
    gathered.set(key, group);
  }
  const groups: ReadonlyMap<string, Group> = gathered;
  return {
    pack: (tensors) =>
      new Map(
        [...groups].map(([key, { names, axis }]) => {
          const parts = names.map((name) => named(tensors, name));
          return [key, tf.keep(joined(parts, axis))];
        }),
      ),
    unpack: (packed) => {
      const out = new Map<string, Tensor>();
      for (const [key, { names, axis, extents }] of groups) {
        const parts = separated(named(packed, key), extents, axis);
        names.forEach((name, i) => out.set(name, tf.keep(at(parts, i))));
      }
      return out;
    },
  };
}
