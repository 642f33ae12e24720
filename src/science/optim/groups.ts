/**
 * Small tensors side by side in one, so that an optimiser's update is a dozen operations and not a dozen a tensor.
 * Every update rule here is elementwise: grouped or not, each entry's result is the same.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Tensors } from './types.ts';

/** Beyond this many entries the arithmetic dwarfs the dispatch, and a copy would cost more than it saves. */
const LARGE = 1 << 16;

interface Group {
  readonly names: readonly string[];
  /** The axis along which the tensors stand side by side; their other one is alike. */
  readonly axis: 0 | 1;
  /** Each tensor's extent along the axis. */
  readonly extents: readonly number[];
}

export interface Grouping {
  /** New tensors, one a group, by group key. A group of one is a handle on the tensor itself. */
  pack(tensors: Tensors): Map<string, Tensor>;
  /** The tensors of the groups by name, new ones. */
  unpack(groups: Tensors): Map<string, Tensor>;
}

/** LoRA's A (r, n) go side by side along n, its B (m, r) along m, biases and norms end to end. */
function place(name: string, shape: readonly number[], size: number): { key: string; axis: 0 | 1 } {
  const [rows, columns] = shape;
  if (size >= LARGE || shape.length > 2 || rows === undefined) return { key: name, axis: 0 };
  if (columns === undefined) return { key: '(·)', axis: 0 };
  return rows <= columns ? { key: `(${rows}, ·)`, axis: 1 } : { key: `(·, ${columns})`, axis: 0 };
}

/** Groups tensors of these shapes; `kind` parts them further, its word in front of the key. */
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
          const parts = names.map((name) => tensors.get(name)!);
          return [key, tf.keep(parts.length === 1 ? tf.clone(parts[0]!) : tf.concat(parts, axis))];
        }),
      ),
    unpack: (packed) => {
      const out = new Map<string, Tensor>();
      for (const [key, { names, axis, extents }] of groups) {
        const whole = packed.get(key)!;
        const parts =
          names.length === 1 ? [tf.clone(whole)] : tf.split(whole, extents.slice(), axis);
        names.forEach((name, i) => out.set(name, tf.keep(parts[i]!)));
      }
      return out;
    },
  };
}
