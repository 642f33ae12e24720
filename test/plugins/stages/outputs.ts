/** Reads what stages write, in the form that the tests compare. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export const jsonOf = async (dir: string, name: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(dir, name), 'utf8')) as Record<string, unknown>;

export const metricsOf = async (dir: string): Promise<Record<string, number>> =>
  (await jsonOf(dir, 'metrics.json')) as Record<string, number>;

/** Reads a file with one JSON document per line: `history.jsonl`, `curves.jsonl`. */
export async function linesOf(dir: string, name: string): Promise<Record<string, number>[]> {
  const text = (await readFile(join(dir, name), 'utf8')).trim();
  return text.split('\n').map((line) => JSON.parse(line) as Record<string, number>);
}

export const lossesOf = async (dir: string): Promise<number[]> =>
  (await linesOf(dir, 'history.jsonl')).map(({ loss }) => loss ?? NaN);

/** The lines of `predictions.csv` by column, without its header. */
export async function predictionsOf(dir: string): Promise<string[][]> {
  const text = (await readFile(join(dir, 'predictions.csv'), 'utf8')).trim();
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.split(','));
}

/** The logits of `predictions.csv`, row after row. */
export const logitsOf = async (dir: string): Promise<number[]> =>
  (await predictionsOf(dir)).flatMap((line) => line.slice(4).map(Number));

/** Whether a file has the same bytes in both folders. */
export async function isSame(file: string, one: string, other: string): Promise<boolean> {
  return (await readFile(join(one, file))).equals(await readFile(join(other, file)));
}

/**
 * Returns the message of the UserFault that the promise rejects with. Throws where it does not
 * reject so.
 */
export async function faultOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error && error.name === 'UserFault') return error.message;
    throw error;
  }
  throw new Error('no fault');
}
