/** Paired runs of the tiny BERT, and what `divergence` finds between them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Distance } from '../../../plugins/stages/divergence/distance.ts';
import train from '../../../plugins/stages/train/index.ts';
import { beforeTraining, type Cell } from '../../../src/api.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { present } from '../../rig/present.ts';
import { type Chain, rows } from './kernel-chain.ts';
import { poisonedFolder, tinyCell } from './rig.ts';

export const cell = tinyCell({
  seed: 7,
  poisoning: { attack: 'label-flip', rate: 0.2 },
  adapter: { type: 'lora', rank: 3, alpha: 6, init: { distribution: 'kaiming-uniform' } },
  train: { ...tinyCell().train, checkpoints: [2, 4] },
});
export const flipped = rows
  .slice(0, 4)
  .map((row, index) => ({ index, row: { ...row, label: 1 - row.label } }));

export const twinOf = (of: Cell): Cell => ({ ...of, poisoning: { attack: 'none' } });

export interface Parts {
  readonly total: Distance | null;
  readonly trained: Distance | null;
  readonly kinds: Partial<Record<'biases' | 'norms' | 'embeddings' | 'other', Distance>>;
  readonly head: Distance | null;
}
export interface Found {
  readonly points: readonly (Parts & {
    readonly step: number;
    readonly layers: Record<string, Distance>;
    readonly floor: Parts | null;
  })[];
  readonly mean: Parts;
  readonly noise_floor:
    | { readonly measured: true; readonly method: string; readonly mean: Parts }
    | { readonly measured: false; readonly reason: string };
}
export const json = async <T>(path: string): Promise<T> =>
  JSON.parse(await readFile(path, 'utf8')) as T;

export interface Runs {
  readonly [name: string]: string;
  readonly start: string;
  readonly model: string;
  readonly clean: string;
  readonly poison: string;
}

/** Trains the runs that `divergence` reads. Returns their folders by the names of its inputs. */
export async function runs(chain: Chain, of: Cell): Promise<Runs> {
  const poison = await poisonedFolder(rows, {
    changed: flipped,
    negatives: [],
    asked: 4,
    eligible: rows.length,
  });
  return {
    poison,
    start: (await chain.train(beforeTraining(of))).dir,
    model: (await chain.run(train, of, { data: poison })).dir,
    clean: (await chain.train(twinOf(of))).dir,
    ...(of.theory.noise_floor
      ? { again: (await chain.train(twinOf(of), { batch_rows: 'reversed' })).dir }
      : {}),
  };
}

/** s·B·A of each adapted layer, and the head, read from the folder itself. */
export async function weightsIn(
  dir: string,
): Promise<{ readonly layers: Map<string, number[]>; readonly head: number[] }> {
  const held = await readSafetensors(join(dir, 'adapter', 'adapter_model.safetensors'));
  const layers = new Map<string, number[]>(),
    head: number[] = [];
  for (const [
    name,
    {
      data,
      shape: [r, n],
    },
  ] of held) {
    if (name.includes('classifier')) head.push(...data);
    if (!name.endsWith('.lora_A.weight')) continue;
    const B = present(held.get(name.replace('lora_A', 'lora_B'))),
      scale = 6 / 3;
    layers.set(
      name.replace('base_model.model.', '').replace('.lora_A.weight', '.weight'),
      Array.from({ length: present(B.shape[0]) * present(n) }, (_, at) => {
        let sum = 0;
        for (let q = 0; q < present(r); q++)
          sum +=
            present(B.data[Math.floor(at / present(n)) * present(r) + q]) *
            present(data[q * present(n) + (at % present(n))]);
        return scale * sum;
      }),
    );
  }
  return { layers, head };
}

/** Asserts that a distance is that of two changes of weights, computed by hand. */
export function near(
  found: Distance,
  clean: readonly number[],
  poisoned: readonly number[],
  what: string,
): void {
  const size = (values: readonly number[]): number => Math.hypot(...values);
  const difference = clean.map((value, i) => value - present(poisoned[i]));
  const expected = {
    largest: Math.max(...difference.map(Math.abs)),
    l2: size(difference),
    clean_change: size(clean),
    relative: size(difference) / size(clean),
  };
  for (const [name, value] of Object.entries(expected)) {
    const own = present(found[name as keyof Distance]);
    assert.ok(Math.abs(own - value) < 1e-6 * value, `${what}, ${name}: ${own}, by hand ${value}`);
  }
}
