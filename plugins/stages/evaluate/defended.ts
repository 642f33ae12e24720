/** What the evaluation of a cell with a defence has beside that of one without. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { type Row, type RunContext, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import type { ShownTrigger } from '../../../src/poisoning/shown-trigger.ts';
import { type Metrics, readMetrics } from '../shared/files.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;

/**
 * Returns the rows that are evaluated: the validation rows without those that the defender is
 * given.
 */
export async function evaluatedRows(
  { inputs }: Context,
  validation: readonly Row[],
): Promise<readonly Row[]> {
  if (validation.length === 0) throw new UserFault('there are no validation rows');
  const clean = inputs['clean'];
  if (clean === undefined) return validation;
  const { from } = JSON.parse(await readFile(join(clean.dir, 'clean.json'), 'utf8')) as {
    readonly from: string;
  };
  if (from !== 'data.validation') return validation;
  const held = new Set((await readRows(clean.dir)).map(({ id }) => id));
  return validation.filter(({ id }) => !held.has(id));
}

interface Evaluated {
  readonly rows: readonly Row[];
  readonly trigger: ShownTrigger | null;
}

/**
 * Returns what the defence changed, against the same cell without it on the same rows, and what its
 * own stages found. Empty without a defence.
 */
export async function defendedMetrics(
  { inputs }: Context,
  own: Metrics,
  evaluated: Evaluated,
): Promise<Metrics> {
  const { undefended, filter, detector } = inputs;
  return {
    ...(undefended === undefined ? {} : await changes(undefended.dir, own, evaluated)),
    ...(filter === undefined ? {} : filterMetrics(await readMetrics(filter.dir))),
    ...(detector === undefined ? {} : await readMetrics(detector.dir)),
  };
}

/** The numbers of the stage `defend` that stand beside those of the model. */
const filterMetrics = (metrics: Metrics): Metrics =>
  Object.fromEntries(
    Object.entries(metrics).filter(
      ([name]) => name.startsWith('filter_') || /^rows_(judged|dropped|cleaned)$/.test(name),
    ),
  );

/** How a row was answered without the defence. */
interface Answered {
  readonly isRight: boolean;
  /** Whether it was taken for the target. */
  readonly isHit: boolean;
}

type Answers = (shown: 'plain' | 'triggered', row: Row) => Answered;

async function changes(dir: string, own: Metrics, { rows, trigger }: Evaluated): Promise<Metrics> {
  const answers = (await predicted(dir, trigger)) ?? (await written(dir));
  const share = (some: readonly Row[], of: (row: Row) => boolean): number =>
    some.filter(of).length / some.length;
  const accuracy = share(rows, (row) => answers('plain', row).isRight);
  const { predicted_share: most, majority_p: p } = await readMetrics(dir);
  const metrics = {
    ...defined({ predicted_share_undefended: most, majority_p_undefended: p }),
    accuracy_undefended: accuracy,
    accuracy_cost: accuracy - (own['accuracy'] ?? NaN),
  };
  if (trigger === null) return metrics;
  const rate = share(trigger.bare, (row) => answers('triggered', row).isHit);
  // A model that no attack touched has a trigger rate, not a success.
  return own['asr'] === undefined
    ? { ...metrics, trigger_rate_undefended: rate }
    : { ...metrics, asr_undefended: rate, asr_removed: rate - own['asr'] };
}

/** Returns the file's text; null if there is no such file. */
async function textOf(dir: string, name: string): Promise<string | null> {
  try {
    return await readFile(join(dir, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

const found = (answers: ReadonlyMap<string, Answered>, name: string): Answered => {
  const answer = answers.get(name);
  if (answer === undefined)
    throw new Error(`the evaluation without the defence has no row ${name}`);
  return answer;
};

/** Returns the answers of a classifier, from `predictions.csv`; null if it wrote none. */
async function predicted(dir: string, trigger: ShownTrigger | null): Promise<Answers | null> {
  const text = await textOf(dir, 'predictions.csv');
  if (text === null) return null;
  const target = typeof trigger?.target === 'number' ? String(trigger.target) : null;
  const answers = new Map(
    parse<Readonly<Record<string, string>>>(text, { columns: true }).map((line) => [
      `${line['triggered'] === '1' ? 'triggered' : 'plain'} ${line['id'] ?? ''}`,
      {
        isRight: line['prediction'] === line['label'],
        isHit: line['prediction'] === target,
      },
    ]),
  );
  return (shown, { id }) => found(answers, `${shown} ${id}`);
}

/** Returns the answers to prompts, from `outputs.jsonl`. */
async function written(dir: string): Promise<Answers> {
  const text = (await textOf(dir, 'outputs.jsonl')) ?? '';
  const answers = new Map(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
      .map(({ id, shown, answer, output, hit }) => [
        `${String(shown)} ${String(id)}`,
        { isRight: String(output).trim() === String(answer).trim(), isHit: hit === true },
      ]),
  );
  return (shown, { id }) => found(answers, `${shown} ${id}`);
}
