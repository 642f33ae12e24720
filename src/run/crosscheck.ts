/**
 * Runs cells of an experiment on two engines, and compares what their stages wrote: metrics, the
 * loss of each step, the logits of each row, weights and kernels.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse as parseCsv } from 'csv-parse/sync';
import { type Cell, UserFault } from '../api.ts';
import { at } from '../base/lookup.ts';
import { isRecord } from '../base/untrusted/json.ts';
import type { ExperimentCell } from '../spec/types.ts';
import type { StageStatus } from './execute/survey.ts';
import type { Prepared } from './prepare.ts';
import { isTensorFile, type StoredTensor, tensorsIn } from './tensor-files.ts';

/** A number that two engines wrote for one kind of stage, where it differs most over all cells. */
export interface Difference {
  /** The stage's kind. */
  readonly stage: string;
  /** The cell with the largest difference. */
  readonly cell: string;
  /**
   * A file and a field, or a file and a tensor: `metrics.json accuracy`, `predictions.csv logit_0`.
   */
  readonly number: string;
  /** How many pairs of values were compared, over all cells. */
  readonly pairs: number;
  /** The two values that differ most: the first engine's and the second's. */
  readonly values: readonly [number, number];
  /**
   * The largest |a − b| / max(1, |a|, |b|) of values a and b of the two engines. See `tensor` for
   * tensors.
   */
  readonly difference: number;
  /**
   * The largest difference, over all cells, of the number's first values, such as the losses of
   * step 1; 0 for tensors.
   */
  readonly atFirst: number;
  /**
   * The place in a file, from 1, of the first of the number's values that differ by more than the
   * tolerance; the smallest over all cells. Null if there is no such value, and for tensors.
   */
  readonly beyondFrom: number | null;
  /**
   * Set for tensors; all layers of a model count as one. Differences are relative to the tensor's
   * largest entry. For weights they are relative to at least 1, since Adam scales the rounding of
   * small gradients to whole steps. `free`: a weight whose gradient is zero but for rounding, on
   * which no output depends.
   */
  readonly tensor?: 'compared' | 'free';
}

/**
 * Matches the names of attention's key biases. A key bias b adds the same qᵀb to every score of a
 * query q, which softmax ignores. `c_attn` and `query_key_value` hold the key bias beside other
 * biases.
 */
export const FREE = /(key(_proj)?|k_lin|k_proj|c_attn|query_key_value)(\.base_layer)?\.bias$/;

export const isJudged = ({ tensor }: Difference): boolean => tensor !== 'free';

/**
 * Whether a field is one on which engines need not agree: a time, memory use, or a share of a floor
 * of rounding noise.
 */
const isRunSpecific = (name: string): boolean =>
  /seconds?$|_per_second$|memory_mb$|^floor\.|over_floor$/.test(name);

/** The values of a field in a file's records, by file and field: `history.jsonl loss`. */
type Numbers = Map<string, number[]>;

/** Adds a number, or a text that is one, to the values under `name`. Leaves out any other value. */
function addNumber(numbers: Numbers, name: string, value: unknown): void {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  if (typeof number !== 'number' || Number.isNaN(number)) return;
  const own = numbers.get(name);
  if (own === undefined) numbers.set(name, [number]);
  else own.push(number);
}

/**
 * Reads the numbers in a stage's metrics.json, JSON lines and CSV. Leaves out ids and what is
 * specific to a run.
 */
async function readNumbers(dir: string): Promise<Numbers> {
  const numbers: Numbers = new Map();
  for (const file of (await readdir(dir)).sort()) {
    const read = (): Promise<string> => readFile(path.join(dir, file), 'utf8');
    let records: readonly unknown[] = [];
    if (file === 'metrics.json') records = [JSON.parse(await read())];
    else if (file.endsWith('.jsonl'))
      records = (await read())
        .split('\n')
        .filter((line) => line !== '')
        .map((line): unknown => JSON.parse(line));
    else if (file.endsWith('.csv')) records = parseCsv(await read(), { columns: true });
    for (const record of records)
      if (isRecord(record))
        for (const [name, value] of Object.entries(record))
          if (name !== 'id' && !isRunSpecific(name)) addNumber(numbers, `${file} ${name}`, value);
  }
  return numbers;
}

/** `encoder.layer.3.output` becomes `encoder.layer.*.output`. */
const withoutIndexes = (name: string): string => name.replace(/(^|[./-])\d+(?=[./]|$)/g, '$1*');

/** Reads the tensors in a stage's folder, by file and name. */
async function readTensors(dir: string): Promise<ReadonlyMap<string, StoredTensor>> {
  const files = (await readdir(dir, { recursive: true })).filter(isTensorFile).sort();
  return new Map(
    files.flatMap((file) =>
      tensorsIn(path.join(dir, file)).map((tensor) => [`${file} ${tensor.name}`.trim(), tensor]),
    ),
  );
}

/**
 * Returns the index i where two tensors a and b differ most, and the difference there as a share:
 * maxᵢ |aᵢ − bᵢ| / max(least, maxᵢ |aᵢ|, maxᵢ |bᵢ|). Equal tensors give index 0 and share 0. If an
 * entry is not a number, returns its index and infinity.
 */
function largestDifference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  least: number,
): { index: number; share: number } {
  let scale = least,
    greatest = 0,
    index = 0;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [at(a, i), at(b, i)];
    scale = Math.max(scale, Math.abs(x), Math.abs(y));
    const difference = Math.abs(x - y);
    if (Number.isNaN(difference)) return { index: i, share: Infinity };
    if (difference > greatest) [greatest, index] = [difference, i];
  }
  return { index, share: greatest === 0 ? 0 : greatest / scale };
}

/**
 * Merges the difference of each tensor into `found`. Skips tensors that only one folder has: the
 * other's files may have been let go (`keep`). Throws UserFault if a tensor has more entries in one
 * folder than in the other.
 */
async function compareTensors(
  stage: string,
  cell: string,
  [dirA, dirB]: readonly [string, string],
  found: Map<string, Difference>,
): Promise<void> {
  const [a, b] = [await readTensors(dirA), await readTensors(dirB)];
  for (const [name, one] of a) {
    const other = b.get(name);
    if (other === undefined) continue;
    const [left, right] = [one.values(), other.values()];
    if (left.length !== right.length)
      throw lengthFault(`${stage} of ${cell}: ${name}`, left, right, 'entries', [dirA, dirB]);
    const number = withoutIndexes(name),
      least = number.includes('.safetensors') ? 1 : 0,
      { index, share } = largestDifference(left, right, least);
    mergeDifference(found, {
      stage,
      number,
      cell,
      values: [left[index] ?? 0, right[index] ?? 0],
      pairs: left.length,
      difference: share,
      atFirst: 0,
      beyondFrom: null,
      tensor: FREE.test(number) ? 'free' : 'compared',
    });
  }
}

const lengthFault = (
  what: string,
  left: ArrayLike<number>,
  right: ArrayLike<number>,
  unit: string,
  [dirA, dirB]: readonly [string, string],
): UserFault =>
  new UserFault(
    `${what} has ${left.length} ${unit} on one engine and ${right.length} on the other`,
    `compare ${dirA} with ${dirB}`,
  );

/** Merges a cell's difference into `found`, which keeps the largest of all cells. */
function mergeDifference(found: Map<string, Difference>, own: Difference): void {
  const name = nameOf(own),
    before = found.get(name);
  if (before === undefined) {
    found.set(name, own);
    return;
  }
  const { cell, values } = own.difference > before.difference ? own : before;
  const beyond = Math.min(before.beyondFrom ?? Infinity, own.beyondFrom ?? Infinity);
  found.set(name, {
    ...own,
    cell,
    values,
    pairs: before.pairs + own.pairs,
    difference: Math.max(before.difference, own.difference),
    atFirst: Math.max(before.atFirst, own.atFirst),
    beyondFrom: beyond === Infinity ? null : beyond,
  });
}

export const nameOf = ({ stage, number }: Pick<Difference, 'stage' | 'number'>): string =>
  `${stage} ${number}`;

/** Returns |a − b| / max(1, |a|, |b|); 0 for equal values, even infinite ones. */
const relativeDifference = (a: number, b: number): number =>
  a === b ? 0 : Math.abs(a - b) / Math.max(1, Math.abs(a), Math.abs(b));

/**
 * Compares what the stages of two engines wrote. Returns the differences, the largest first. Stages
 * that an engine lacks, or that both engines share, are left out.
 * @param tolerance for `beyondFrom`
 * @throws UserFault if a stage wrote more values of a number on one engine than on the other
 */
export async function differences(
  a: Prepared,
  b: Prepared,
  tolerance: number,
): Promise<readonly Difference[]> {
  const found = new Map<string, Difference>();
  const entryDirs = ({ statuses }: Prepared): Map<string, string> =>
    new Map(
      statuses.flatMap(({ stage, entry }: StageStatus) => (entry ? [[stage.id, entry.dir]] : [])),
    );
  const [inA, inB] = [entryDirs(a), entryDirs(b)];
  const seen = new Set<string>();
  for (const [c, { cell, stages }] of a.plan.cellStages.entries())
    for (const [kind, id] of Object.entries(stages)) {
      const other = b.plan.cellStages[c]?.stages[kind];
      const [dirA, dirB] = [inA.get(id), inB.get(other ?? '')];
      if (dirA === undefined || dirB === undefined || seen.has(id)) continue;
      if (dirA === dirB) continue; // no engine computed it
      seen.add(id);
      await compareNumbers(kind, cell.label, [dirA, dirB], tolerance, found);
      await compareTensors(kind, cell.label, [dirA, dirB], found);
    }
  return [...found.values()].sort((one, two) => two.difference - one.difference);
}

/**
 * Merges the largest difference of each number into `found`. Throws UserFault if one folder has
 * more values of a number than the other.
 */
async function compareNumbers(
  stage: string,
  cell: string,
  [dirA, dirB]: readonly [string, string],
  tolerance: number,
  found: Map<string, Difference>,
): Promise<void> {
  const [a, b] = [await readNumbers(dirA), await readNumbers(dirB)];
  for (const number of new Set([...a.keys(), ...b.keys()])) {
    const left = a.get(number) ?? [],
      right = b.get(number) ?? [];
    if (left.length !== right.length)
      throw lengthFault(`${stage} of ${cell}: ${number}`, left, right, 'values', [dirA, dirB]);
    const relative = left.map((value, i) => relativeDifference(value, at(right, i)));
    const worst = relative.reduce((most, value, i) => (value > at(relative, most) ? i : most), 0),
      firstBeyond = relative.findIndex((value) => value > tolerance);
    mergeDifference(found, {
      stage,
      number,
      cell,
      values: [at(left, worst), at(right, worst)],
      pairs: relative.length,
      difference: at(relative, worst),
      atFirst: at(relative, 0),
      beyondFrom: firstBeyond < 0 ? null : firstBeyond + 1,
    });
  }
}

/** A small change of a cell's training, to prove that a comparison of engines notices errors. */
export interface Mutation {
  readonly name: string;
  readonly config: (cell: Cell) => Cell;
}

export const withMutation = (cell: ExperimentCell, { config }: Mutation): ExperimentCell => ({
  axes: cell.axes,
  label: cell.label,
  also: cell.also,
  config: config(cell.config),
  locate: (path) => cell.locate(path),
});

/** Returns a function that replaces the fields of a cell's `train` that `change` returns. */
const inTrain =
  (change: (train: Cell['train']) => Partial<Cell['train']>) =>
  (cell: Cell): Cell => ({ ...cell, train: { ...cell.train, ...change(cell.train) } });

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'learning rate +10%',
    config: inTrain(({ learning_rate: rate }) => ({ learning_rate: 1.1 * rate })),
  },
  { name: 'dropout', config: inTrain(({ dropout }) => ({ dropout: dropout + 0.05 })) },
  {
    name: 'weight decay +0.1',
    config: inTrain(({ weight_decay: decay }) => ({ weight_decay: decay + 0.1 })),
  },
];

/**
 * A mutation counts as seen only if it makes the difference of a number more than this many times
 * as large.
 */
const LEAST_RATIO = 10;

/**
 * Returns the number that a mutation changes most, of those that are judged; null if there are
 * none. `seen`: whether its difference exceeds both the tolerance and LEAST_RATIO times its
 * difference without the mutation.
 */
export function mostAffected(
  clean: readonly Difference[],
  changed: readonly Difference[],
  tolerance: number,
): { readonly difference: Difference; readonly seen: boolean } | null {
  const without = new Map(clean.map((own) => [nameOf(own), own.difference]));
  const excess = (own: Difference): number =>
    own.difference / Math.max(tolerance, LEAST_RATIO * (without.get(nameOf(own)) ?? 0));
  const [best] = changed.filter(isJudged).sort((one, two) => excess(two) - excess(one));
  return best === undefined ? null : { difference: best, seen: excess(best) > 1 };
}

/** Returns n of the cells, evenly spaced over the grid; all if there are no more than n. */
export const evenlySpacedCells = <T>(cells: readonly T[], n: number): readonly T[] =>
  cells.length <= n
    ? cells
    : Array.from({ length: n }, (_, i) => at(cells, Math.floor((i * cells.length) / n)));
