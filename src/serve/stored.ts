/** Reads metrics and training histories of entries in a store that may be hostile. */
import { isRecord, parseJson } from '../base/untrusted/json.ts';
import type { Inside } from './inside.ts';
import { readInside } from './inside.ts';
import type { Curves } from './series.ts';
import { createCurves } from './series.ts';
import { openTail } from './tail.ts';

const METRICS_BYTES = 2 ** 20,
  MOST_METRICS = 300,
  LINE_BYTES = 64 * 1024,
  HISTORY_BYTES = 256 * 2 ** 20,
  HISTORY_LINES = 1_000_000;
const LIMITS = { values: 10_000, names: 10_000 };

export type Metrics = ReadonlyMap<string, number>;

/** Returns the path of a file of an entry, or null if the key is malformed. */
const fileOf = (store: string, key: string, name: string): Inside | null =>
  /^[0-9a-f]{64}$/.test(key) ? { root: store, names: [key.slice(0, 2), key, name] } : null;

/** Returns the numbers in an entry's metrics.json; none if there is no such file. */
export async function readMetrics(store: string, key: string): Promise<Metrics> {
  const file = fileOf(store, key, 'metrics.json');
  const text = file === null ? null : await readInside(file, METRICS_BYTES);
  const found = text === null ? null : objectIn(text);
  return new Map(
    Object.entries(found ?? {})
      .filter((entry): entry is [string, number] => typeof entry[1] === 'number')
      .filter(([name]) => name.length <= 100)
      .slice(0, MOST_METRICS),
  );
}

/** Returns the curves of a finished training: its losses, and the evaluations during it. */
export async function readCurves(store: string, key: string): Promise<Curves> {
  const curves = createCurves();
  await eachLine(fileOf(store, key, 'history.jsonl'), ({ step, loss, penalty }) => {
    addTo(curves, 'loss', step, loss);
    addTo(curves, 'penalty', step, penalty);
  });
  await eachLine(fileOf(store, key, 'curves.jsonl'), ({ step, ...values }) => {
    for (const [name, value] of Object.entries(values))
      addTo(curves, name === 'loss' ? 'validation loss' : name.replaceAll('_', ' '), step, value);
  });
  return curves;
}

function addTo(curves: Curves, name: string, step: unknown, value: unknown): void {
  if (typeof step === 'number' && typeof value === 'number') curves.add(name, step, value);
}

async function eachLine(
  file: Inside | null,
  onRecord: (record: { readonly [name: string]: unknown }) => void,
): Promise<void> {
  if (file === null) return;
  await openTail({
    file,
    longest: LINE_BYTES,
    most: HISTORY_BYTES,
    mostLines: HISTORY_LINES,
    onRestart: () => undefined,
    onLine: (line) => {
      const record = objectIn(line);
      if (record !== null) onRecord(record);
    },
  }).read();
}

function objectIn(text: string): { readonly [name: string]: unknown } | null {
  try {
    const value = parseJson(text, 'a record', LIMITS);
    return isRecord(value) ? value : null;
  } catch {
    return null; // not what a stage writes
  }
}
