/**
 * Saves a long computation of kernels between groups of layers. A killed stage resumes with the
 * same bits, since sums are in double precision and added in the same order.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256OfFile } from '../../models/io/large.ts';
import { readNpy, writeNpy } from '../../models/io/npy.ts';
import type { KernelParts, LayerKernel } from './kernels.ts';
import type { TermRecord } from './layer.ts';
import type { KernelKind } from './terms.ts';

export interface Resume {
  /** Fills the parts from an intact state. Returns the number of groups that it covers. */
  load(into: KernelParts): Promise<number>;
  save(groups: number, parts: KernelParts): Promise<void>;
}

interface State {
  readonly groups: number;
  /** The folder of the arrays. */
  readonly arrays: string;
  /** SHA-256 of each array, by file name. */
  readonly digests: { readonly [name: string]: string };
  readonly blocks: readonly (readonly [KernelKind, string])[];
  readonly layers: readonly LayerKernel[];
  readonly terms: readonly TermRecord[];
}

const blockFile = (kind: KernelKind, layer: string): string => `${kind}.${layer}.npy`;

/** Returns the arrays of the sums, by file name. */
function namedArrays({ totals }: KernelParts): [string, Float64Array][] {
  return [...totals].flatMap(([kind, { exact, replicates }]): [string, Float64Array][] => [
    [`${kind}.npy`, exact.data],
    ...replicates.map(({ data }, r): [string, Float64Array] => [`${kind}-${r}.npy`, data]),
  ]);
}

const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');

/** Reads a state. Null where there is none; `damaged` where its text is not what was written. */
async function readState(file: string): Promise<State | 'damaged' | null> {
  if (!existsSync(file)) return null;
  const text = await readFile(file, 'utf8'),
    at = text.indexOf('\n');
  if (text.slice(0, at) !== sha256(text.slice(at + 1))) return 'damaged';
  const state = JSON.parse(text.slice(at + 1)) as State;
  // The folder is removed later, and whoever can write the state can also compute its digest.
  return /^groups-\d+$/.test(state.arrays) ? state : 'damaged';
}

/**
 * Saves states in `dir`, and loads the last one. A state names the folder of its arrays and their
 * digests, begins with a digest of itself, and is renamed into place after the arrays are written:
 * a kill in between leaves the previous state, and a state with a changed byte is not resumed from.
 * @param log called if a state is damaged
 */
export function resumeIn(dir: string, log: (message: string) => void): Resume {
  const file = join(dir, 'kernel.json');
  return {
    async load(into) {
      const state = await readState(file);
      if (state === null) return 0;
      const isUndamaged =
        state !== 'damaged' &&
        (
          await Promise.all(
            Object.entries(state.digests).map(async ([name, digest]) => {
              const path = join(dir, state.arrays, name);
              return existsSync(path) && (await sha256OfFile(path)) === digest;
            }),
          )
        ).every(Boolean);
      if (!isUndamaged) {
        log('the saved state of this kernel is damaged and ignored');
        return 0;
      }
      for (const [name, data] of namedArrays(into)) {
        const kept = await readNpy(join(dir, state.arrays, name));
        if (kept.data.length !== data.length)
          throw new Error(
            `${join(dir, state.arrays, name)} has ${kept.data.length} values, not ${data.length}`,
          );
        data.set(kept.data);
      }
      for (const [kind, layer] of state.blocks)
        into.blocks
          .get(kind)!
          .set(
            layer,
            (await readNpy(join(dir, state.arrays, blockFile(kind, layer)))).data as Float64Array,
          );
      into.layers.push(...state.layers);
      into.terms.push(...state.terms);
      return state.groups;
    },
    async save(groups, parts) {
      const before = await readState(file);
      const blocks = [...parts.blocks].flatMap(([kind, byLayer]) =>
        [...byLayer].map(([layer, data]) => [kind, layer, data] as const),
      );
      const folder = `groups-${groups}`,
        digests: { [name: string]: string } = {};
      await mkdir(join(dir, folder), { recursive: true });
      for (const [name, data] of [
        ...blocks.map(([kind, layer, block]) => [blockFile(kind, layer), block] as const),
        ...namedArrays(parts),
      ]) {
        await writeNpy(join(dir, folder, name), { shape: [data.length], data });
        digests[name] = await sha256OfFile(join(dir, folder, name));
      }
      const state: State = {
        groups,
        arrays: folder,
        digests,
        blocks: blocks.map(([kind, layer]) => [kind, layer]),
        layers: parts.layers,
        terms: parts.terms,
      };
      const text = JSON.stringify(state);
      await writeFile(`${file}.new`, `${sha256(text)}\n${text}`);
      await rename(`${file}.new`, file);
      if (before !== null && before !== 'damaged' && before.arrays !== folder)
        await rm(join(dir, before.arrays), { recursive: true, force: true });
    },
  };
}
