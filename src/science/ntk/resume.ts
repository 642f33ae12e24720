/**
 * What a long kernel has done, kept between groups of layers: a killed stage goes on from there and comes to the same
 * numbers, bit for bit, since sums are in double precision and are added in the same order.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readNpy, writeNpy } from '../io/npy.ts';
import type { LayerKernel } from './kernels.ts';
import type { KernelKind, Sums, TermRecord } from './layer.ts';

/** The growing parts of a kernel computation. */
export interface Partial {
  readonly totals: ReadonlyMap<KernelKind, Sums>;
  /** Each layer's block, where they are kept. */
  readonly blocks: ReadonlyMap<KernelKind, Map<string, Float64Array>>;
  readonly layers: LayerKernel[];
  readonly terms: TermRecord[];
}

export interface Resume {
  /** Fills the parts from what was kept; how many groups that is. */
  load(into: Partial): Promise<number>;
  save(groups: number, parts: Partial): Promise<void>;
}

interface State {
  readonly groups: number;
  /** The folder of the arrays. */
  readonly arrays: string;
  readonly blocks: readonly (readonly [KernelKind, string])[];
  readonly layers: readonly LayerKernel[];
  readonly terms: readonly TermRecord[];
}

const blockFile = (kind: KernelKind, layer: string): string => `${kind}.${layer}.npy`;

/** Every array by a file name. */
function arrays({ totals }: Partial): [string, Float64Array][] {
  return [...totals].flatMap(([kind, { exact, replicates }]): [string, Float64Array][] =>
    [[`${kind}.npy`, exact.data], ...replicates.map(({ data }, r): [string, Float64Array] => [`${kind}-${r}.npy`, data])]);
}

/**
 * Keeps the parts in a folder that only this computation uses. A state names its arrays' folder, and is renamed into
 * place after them: a kill in the middle leaves the state before.
 */
export function resumeIn(dir: string): Resume {
  const file = join(dir, 'kernel.json');
  return {
    async load(into) {
      if (!existsSync(file)) return 0;
      const state = JSON.parse(await readFile(file, 'utf8')) as State;
      for (const [name, data] of arrays(into)) {
        const kept = await readNpy(join(dir, state.arrays, name));
        if (kept.data.length !== data.length) throw new Error(`${join(dir, state.arrays, name)} has ${kept.data.length} values, not ${data.length}`);
        data.set(kept.data);
      }
      for (const [kind, layer] of state.blocks) into.blocks.get(kind)!.set(layer, (await readNpy(join(dir, state.arrays, blockFile(kind, layer)))).data as Float64Array);
      into.layers.push(...state.layers);
      into.terms.push(...state.terms);
      return state.groups;
    },
    async save(groups, parts) {
      const before = existsSync(file) ? (JSON.parse(await readFile(file, 'utf8')) as State).arrays : null;
      const blocks = [...parts.blocks].flatMap(([kind, byLayer]) => [...byLayer].map(([layer, data]) => [kind, layer, data] as const));
      const state: State = { groups, arrays: `groups-${groups}`, blocks: blocks.map(([kind, layer]) => [kind, layer]), layers: parts.layers, terms: parts.terms };
      await mkdir(join(dir, state.arrays), { recursive: true });
      for (const [kind, layer, data] of blocks) await writeNpy(join(dir, state.arrays, blockFile(kind, layer)), { shape: [data.length], data });
      for (const [name, data] of arrays(parts)) await writeNpy(join(dir, state.arrays, name), { shape: [data.length], data });
      await writeFile(`${file}.new`, JSON.stringify(state));
      await rename(`${file}.new`, file);
      if (before !== null && before !== state.arrays) await rm(join(dir, before), { recursive: true, force: true });
    },
  };
}
