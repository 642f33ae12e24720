/** The golden runs of RIPPLe (test/golden/ripple.py), and how results are compared with them. */
import { readFile } from 'node:fs/promises';
import { at, named } from '../../src/base/lookup.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import type { Tensors } from '../../src/science/models/network.ts';
import type { Batch, LossAndGradients } from '../../src/science/training/gradients.ts';
import type { LabelledRow } from '../../src/science/training/loop.ts';
import { disposeAll } from '../../src/science/training/trained-values.ts';
import { present } from '../rig/present.ts';
import { golden } from './tiny-bert.ts';

interface Run {
  readonly losses: readonly number[];
  /** ⟨∇L_p, ∇L_c⟩ of each step's batch; null where the batch has only one kind of rows. */
  readonly products: readonly (number | null)[];
}
interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly rows: readonly {
    readonly ids: number[];
    readonly typeIds: number[];
    readonly label: number;
    readonly poisoned: boolean;
  }[];
  readonly runs: Readonly<
    Record<
      string,
      {
        readonly settings: {
          readonly kind: 'full' | 'lora';
          readonly optimizer: 'adamw' | 'sgd';
          readonly lr: number;
          readonly weight_decay: number;
          readonly lambda: number;
          readonly class_weights: readonly number[] | null;
        };
        readonly variants: Readonly<
          Record<'whole' | 'no penalty' | 'poisoned constant' | 'clean constant', Run>
        >;
      }
    >
  >;
}
export const reference = JSON.parse(await readFile(`${golden}ripple.json`, 'utf8')) as Golden;
export const expected = await readSafetensors(`${golden}ripple.safetensors`);
export const rows: LabelledRow[] = reference.rows.map(({ ids, typeIds, label, poisoned }) => ({
  ids: Int32Array.from(ids),
  typeIds: Int32Array.from(typeIds),
  label,
  poisoned,
}));
export const batchOf = (some: readonly LabelledRow[]): Batch => ({
  rows: some,
  labels: some.map(({ label }) => label),
  poisoned: some.map(({ poisoned }) => poisoned === true),
});
export const first = batchOf(rows.slice(0, reference.batch_size));
export const dispose = (...of: readonly LossAndGradients[]): void => {
  for (const { loss, gradients } of of) {
    loss.dispose();
    disposeAll(gradients);
  }
};
export const lossOf = ({ loss }: LossAndGradients): number => present(loss.dataSync()[0]);

/** ‖a − b‖/‖b‖ over all values under all names. */
export function relative(
  a: ReadonlyMap<string, ArrayLike<number>>,
  b: (name: string) => ArrayLike<number>,
): number {
  let off = 0,
    all = 0;
  for (const [name, mine] of a) {
    const theirs = b(name);
    if (mine.length !== theirs.length)
      throw new Error(`${name}: ${mine.length} values against ${theirs.length}`);
    for (let i = 0; i < mine.length; i++) {
      off += (present(mine[i]) - present(theirs[i])) ** 2;
      all += present(theirs[i]) ** 2;
    }
  }
  return Math.sqrt(off / all);
}
export const values = (tensors: Tensors): Map<string, ArrayLike<number>> =>
  new Map([...tensors].map(([name, tensor]) => [name, tensor.dataSync()]));
export const minus = (
  a: ReadonlyMap<string, ArrayLike<number>>,
  b: ReadonlyMap<string, ArrayLike<number>>,
): Map<string, ArrayLike<number>> =>
  new Map(
    [...a].map(([name, x]) => [name, Array.from(x, (value, i) => value - at(named(b, name), i))]),
  );
