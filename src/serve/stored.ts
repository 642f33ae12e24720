/** Reads metrics, training histories and outputs of entries in a store that may be hostile. */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { isRecord, parseJson } from '../base/untrusted/json.ts';
import { voidReason } from '../report/evidence.ts';
import { ACCURACY, METRICS } from '../report/metrics.ts';
import { OUTPUTS } from '../report/outputs.ts';
import { bytesInside, type Inside, lineReader, readInside } from './files.ts';
import type { Follower } from './follower.ts';
import type { Curve, Results } from './wire.ts';

const METRICS_BYTES = 2 ** 20,
  MOST_METRICS = 300,
  LINE_BYTES = 64 * 1024,
  HISTORY_BYTES = 256 * 2 ** 20,
  HISTORY_LINES = 1_000_000;
const LIMITS = { values: 10_000, names: 10_000 };

export type Metrics = ReadonlyMap<string, number>;

/** Returns the path of an entry's file; null for a malformed key. */
const entryFile = (store: string, key: string, name: string): Inside | null =>
  /^[0-9a-f]{64}$/.test(key) ? { root: store, names: [key.slice(0, 2), key, name] } : null;

/**
 * Returns the numbers in an entry's metrics.json, up to MOST_METRICS, without names of more than
 * 100 characters; none if there is no such file.
 */
export async function readMetrics(store: string, key: string): Promise<Metrics> {
  const text = await readInside(entryFile(store, key, 'metrics.json'), METRICS_BYTES);
  const found = text === null ? null : parseObject(text);
  return new Map(
    Object.entries(found ?? {})
      .filter((entry): entry is [string, number] => typeof entry[1] === 'number')
      .filter(([name]) => name.length <= 100)
      .slice(0, MOST_METRICS),
  );
}

const OUTPUTS_BYTES = 64 * 2 ** 20,
  UNPACKED_BYTES = 512 * 2 ** 20;

/**
 * Returns the outputs that a report stage gathered, as gzip; null if there are none, if they are
 * too large, or if they can't be unpacked.
 */
export async function readOutputs(store: string, key: string): Promise<Buffer | null> {
  const bytes = await bytesInside(entryFile(store, key, OUTPUTS), OUTPUTS_BYTES);
  if (bytes === null) return null;
  try {
    // Check that a browser can unpack them.
    await promisify(gunzip)(bytes, { maxOutputLength: UNPACKED_BYTES });
    return bytes;
  } catch {
    return null; // not what a stage writes
  }
}

/** Returns the curves of a finished training: its losses, and the evaluations during it. */
export async function readCurves(store: string, key: string): Promise<Curves> {
  const curves = new Curves();
  await eachLine(entryFile(store, key, 'history.jsonl'), ({ step, loss, penalty }) => {
    addNumber(curves, 'loss', step, loss);
    addNumber(curves, 'penalty', step, penalty);
  });
  await eachLine(entryFile(store, key, 'curves.jsonl'), ({ step, ...values }) => {
    for (const [name, value] of Object.entries(values))
      addNumber(
        curves,
        name === 'loss' ? 'validation loss' : name.replaceAll('_', ' '),
        step,
        value,
      );
  });
  return curves;
}

/** Adds a point to a curve, unless a part of it is no number. */
function addNumber(curves: Curves, name: string, step: unknown, value: unknown): void {
  if (typeof step === 'number' && typeof value === 'number') curves.add(name, step, value);
}

/** Calls `onRecord` with the JSON object in each line of a file. Skips lines without one. */
async function eachLine(
  file: Inside | null,
  onRecord: (record: { readonly [name: string]: unknown }) => void,
): Promise<void> {
  if (file === null) return;
  const readLines = lineReader({
    file,
    longest: LINE_BYTES,
    most: HISTORY_BYTES,
    mostLines: HISTORY_LINES,
    onRestart: () => undefined,
    onLine: (line) => {
      const record = parseObject(line);
      if (record !== null) onRecord(record);
    },
  });
  await readLines();
}

/** Returns the JSON object in a text; null if there is none, or if it exceeds LIMITS. */
function parseObject(text: string): { readonly [name: string]: unknown } | null {
  try {
    const value = parseJson(text, 'a record', LIMITS);
    return isRecord(value) ? value : null;
  } catch {
    return null; // not what a stage writes
  }
}

/** A curve that keeps at most `most` points. Whenever it has more, every second one is dropped. */
export class Series {
  #points: [step: number, value: number][] = [];
  /** One in `#stride` points is kept. */
  #stride = 1;
  #seen = 0;
  #last: [step: number, value: number] | null = null;

  constructor(readonly most = 400) {}

  /**
   * Adds a point, after removing the points at its step and at later steps. A point that is not
   * finite is left out.
   */
  add(step: number, value: number): void {
    if (!Number.isFinite(step) || !Number.isFinite(value)) return;
    if (this.#last !== null && step <= this.#last[0]) {
      // The training began again, or resumed from a saved state.
      this.#points = this.#points.filter(([at]) => at < step);
      this.#seen = this.#points.length * this.#stride;
    }
    this.#last = [step, value];
    if (this.#seen++ % this.#stride === 0) this.#points.push(this.#last);
    if (this.#points.length <= this.most) return;
    this.#points = this.#points.filter((_, i) => i % 2 === 0);
    this.#stride *= 2;
  }

  /** Returns the kept points, followed by the latest of all points if it is not kept. */
  points(): Curve['points'] {
    const [points, last] = [this.#points, this.#last];
    return last === null || points.at(-1) === last ? points : [...points, last];
  }
}

const MOST_CURVES = 8;

/** Curves by name, in the order in which they begin. Those beyond MOST_CURVES are left out. */
export class Curves {
  readonly #series = new Map<string, Series>();

  add(name: string, step: number, value: number): void {
    const series = this.#series.get(name) ?? new Series();
    if (this.#series.size < MOST_CURVES) this.#series.set(name, series);
    series.add(step, value);
  }

  all(): readonly Curve[] {
    return [...this.#series].map(([name, series]) => ({ name, points: series.points() }));
  }
}

const MOST_ROWS = 10_000,
  MOST_COLUMNS = 40,
  AT_ONCE = 16;

/** Reads the metrics of stages into tables, each entry's file only once. */
export class ResultsReader {
  readonly #known = new Map<string, Promise<Metrics>>();

  constructor(readonly follower: Follower) {}

  /**
   * Returns the metrics of an entry, which are read once and then remembered, up to MOST_ROWS
   * entries.
   */
  #metricsOf(store: string, key: string): Promise<Metrics> {
    const found = this.#known.get(key) ?? readMetrics(store, key);
    if (this.#known.size < MOST_ROWS) this.#known.set(key, found);
    return found;
  }

  /**
   * Returns the metrics of the finished stages in a box of the graph.
   * @param store null if it is not known; no metrics can then be read
   */
  async read(group: string, store: string | null): Promise<Results> {
    const finished = [...this.follower.record.stages.entries()].flatMap(([index, stage]) =>
      stage.group === group && stage.key !== null ? [{ index, key: stage.key }] : [],
    );
    if (store === null) return { metrics: [], rows: [], reasons: [], left: finished.length };
    const shown = finished.slice(0, MOST_ROWS);
    const found: (readonly [number, Metrics])[] = [];
    for (let start = 0; start < shown.length; start += AT_ONCE)
      found.push(
        ...(await Promise.all(
          shown
            .slice(start, start + AT_ONCE)
            .map(async ({ index, key }) => [index, await this.#metricsOf(store, key)] as const),
        )),
      );
    const metrics = orderColumns(found.map(([, values]) => values));
    const having = found.filter(([, values]) => values.size > 0);
    return {
      metrics,
      rows: having.map(([index, values]) => [
        index,
        metrics.map((name) => values.get(name) ?? null),
      ]),
      reasons: having.map(([, values]) => findReasons(group, values)),
      left: finished.length - shown.length,
    };
  }
}

/**
 * Returns why metrics of a stage are not evidence, by metric; empty for a stage that is no
 * evaluation.
 */
function findReasons(group: string, values: Metrics): Results['reasons'][number] {
  if (group !== ACCURACY.stage) return {};
  const cell = { metrics: { [ACCURACY.stage]: Object.fromEntries(values) } };
  return Object.fromEntries(
    [...values.keys()].flatMap((metric) => {
      const reason = voidReason(cell, { metric });
      return reason === null ? [] : [[metric, reason]];
    }),
  );
}

/**
 * Returns the names of at most MOST_COLUMNS metrics: first those that the report shows, in its
 * order. Of more than 300 names, only the first 300 are considered.
 */
function orderColumns(found: readonly Metrics[]): string[] {
  const names = new Set<string>();
  for (const values of found)
    for (const name of values.keys()) if (names.size < 300) names.add(name);
  const order = new Map(METRICS.map(({ metric }, index) => [metric, index]));
  /**
   * Returns the position of a metric in the report; the metrics that it does not show come last.
   */
  const rank = (name: string): number => order.get(name) ?? METRICS.length;
  return [...names].sort((a, b) => rank(a) - rank(b)).slice(0, MOST_COLUMNS);
}
