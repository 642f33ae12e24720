/** Evaluates a defence: asks it about inputs, and compares the cell with the one without it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import {
  type Judge,
  type Judgement,
  type Row,
  type RunContext,
  UserFault,
} from '../../../src/api.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import type { ShownTrigger } from '../../../src/poisoning/evaluation.ts';
import { checkJudgement } from '../../../src/poisoning/kept.ts';
import { againstMajority } from '../../../src/science/measures/evaluate/metrics.ts';
import type { OpenedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { defenceContext, defenceDescriptor, fitJudge, judgeRows } from '../defend/context.ts';
import { detectionRates, scoreForJson, writeScores } from '../defend/outcome.ts';
import { type Metrics, readMetrics, renamed, writeJson } from '../shared/files.ts';
import { againstCommonest } from './completion-metrics.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;

/** Returns the validation rows to evaluate, without those that the defender is given. */
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
 * Returns what the defence changed, against the same cell without it on the same rows, and what the
 * stages `defend` and `detect` found. Empty without a defence.
 * @param own the metrics with the defence
 */
export async function defendedMetrics(
  { inputs }: Context,
  own: Metrics,
  evaluated: Evaluated,
): Promise<Metrics> {
  const { undefended, filter, detector } = inputs;
  return {
    ...(undefended === undefined ? {} : await effectMetrics(undefended.dir, own, evaluated)),
    ...(filter === undefined ? {} : filterMetrics(await readMetrics(filter.dir))),
    ...(detector === undefined ? {} : await readMetrics(detector.dir)),
  };
}

/** Returns the metrics of the stage `defend` that the evaluation takes over. */
const filterMetrics = (metrics: Metrics): Metrics =>
  Object.fromEntries(
    Object.entries(metrics).filter(
      ([name]) => name.startsWith('filter_') || /^rows_(judged|dropped|cleaned)$/.test(name),
    ),
  );

/** How a row was answered without the defence, by a class's label id or by a text. */
interface Answered {
  readonly label: string;
  readonly prediction: string;
  readonly isRight: boolean;
  /** Whether the answer counts as the target; null if the scorer was undecided. */
  readonly isHit: boolean | null;
}

interface Answers {
  readonly of: (shown: 'plain' | 'triggered', row: Row) => Answered;
  /** Compares answers with always giving the commonest one, as the metrics of these rows do. */
  readonly againstCommonest: (answered: readonly Answered[]) => Metrics;
}

/**
 * Returns `…_undefended`, what was measured without the defence on the same rows, and what the
 * defence cost (`accuracy_cost`) and removed (`asr_removed`).
 * @param dir the folder of the evaluation without the defence
 * @param own the metrics with the defence
 */
async function effectMetrics(
  dir: string,
  own: Metrics,
  { rows, trigger }: Evaluated,
): Promise<Metrics> {
  if (rows.some(({ document }) => document)) return {}; // they are not answered
  const answers = (await readPredictions(dir, trigger)) ?? (await readOutputs(dir));
  const share = (some: readonly Row[], of: (row: Row) => boolean): number =>
    some.filter(of).length / some.length;
  const accuracy = share(rows, (row) => answers.of('plain', row).isRight);
  const evidence = answers.againstCommonest(rows.map((row) => answers.of('plain', row)));
  const metrics = {
    ...renamed(evidence, (name) => `${name}_undefended`),
    accuracy_undefended: accuracy,
    accuracy_cost: accuracy - (own['accuracy'] ?? NaN),
  };
  if (trigger === null) return metrics;
  const decided = trigger.bare.filter((row) => answers.of('triggered', row).isHit !== null);
  const rate = share(decided, (row) => answers.of('triggered', row).isHit === true);
  // A model that no attack touched has a trigger rate, not a success.
  return own['asr'] === undefined
    ? { ...metrics, trigger_rate_undefended: rate }
    : { ...metrics, asr_undefended: rate, asr_removed: rate - own['asr'] };
}

async function textIfPresent(dir: string, name: string): Promise<string | null> {
  try {
    return await readFile(join(dir, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

const answerTo = (answers: ReadonlyMap<string, Answered>, name: string): Answered => {
  const answer = answers.get(name);
  if (answer === undefined)
    throw new Error(`the evaluation without the defence has no row ${name}`);
  return answer;
};

/**
 * Returns the answers of a classifier, from `predictions.csv`; null if it wrote none.
 * @param trigger if its target is no class, or without one, no answer is a hit
 */
async function readPredictions(dir: string, trigger: ShownTrigger | null): Promise<Answers | null> {
  const text = await textIfPresent(dir, 'predictions.csv');
  if (text === null) return null;
  const target = typeof trigger?.target === 'number' ? String(trigger.target) : null;
  const answers = new Map(
    parse<Readonly<Record<string, string>>>(text, { columns: true }).map((line) => [
      `${line['triggered'] === '1' ? 'triggered' : 'plain'} ${line['id'] ?? ''}`,
      {
        label: line['label'] ?? '',
        prediction: line['prediction'] ?? '',
        isRight: line['prediction'] === line['label'],
        isHit: line['prediction'] === target,
      },
    ]),
  );
  const ids = (values: readonly string[]): number[] => values.map(Number);
  return {
    of: (shown, { id }) => answerTo(answers, `${shown} ${id}`),
    againstCommonest: (answered) => {
      const labels = ids(answered.map(({ label }) => label)),
        predictions = ids(answered.map(({ prediction }) => prediction));
      return againstMajority(labels, predictions, 1 + Math.max(...labels, ...predictions));
    },
  };
}

/** Returns what a model wrote, and the main scorer's verdicts, from `outputs.jsonl`. */
async function readOutputs(dir: string): Promise<Answers> {
  const text = (await textIfPresent(dir, 'outputs.jsonl')) ?? '';
  const answers = new Map(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
      .map(({ id, shown, answer, output, hit }) => [
        `${String(shown)} ${String(id)}`,
        {
          label: String(answer),
          prediction: String(output),
          isRight: String(output).trim() === String(answer).trim(),
          isHit: hit === null ? null : hit === true,
        },
      ]),
  );
  return {
    of: (shown, { id }) => answerTo(answers, `${shown} ${id}`),
    againstCommonest: (answered) =>
      againstCommonest(
        answered.map(({ label, prediction }) => ({ answer: label, text: prediction })),
      ),
  };
}

export interface InputsJudge {
  readonly name: string;
  readonly judge: Judge;
  readonly cleanRows: number;
}

/** Fits the judge. Null if the cell has no defence that acts on inputs. */
export async function openInputsJudge(
  context: Context,
  classes: readonly string[],
  model: OpenedModel,
): Promise<InputsJudge | null> {
  const { defence, seed } = context.params;
  if (defence === undefined) return null;
  const hook = defenceDescriptor(context, defence).inputs;
  const given = await defenceContext(context, { defence, seed: seed ?? 0, classes }, { model });
  // The evaluation reads the clean rows to leave them out; only some defences are given them.
  const clean = hook?.needs.includes('clean') === true ? given.clean : [];
  const judge = await fitJudge(hook, defence.defence, { ...given, clean });
  return { name: defence.defence, judge, cleanRows: clean.length };
}

/** Rows as the model is asked about them, after the judge. */
export interface JudgedRows {
  /** What the defence left of each row; a rejected row is as it was. */
  readonly rows: readonly Row[];
  /** Null without a defence. */
  readonly rejected: readonly boolean[] | null;
  readonly judgement: Judgement | null;
  readonly ids: readonly string[];
}

type Sets<T> = Readonly<Record<'plain' | 'triggered' | 'partial' | 'ofTarget', T>>;
/** Without `ofTarget`, triggered rows of the target class, if these are not asked for. */
type SomeSets<T> = Omit<Sets<T>, 'ofTarget'> & Partial<Pick<Sets<T>, 'ofTarget'>>;

/** Asks the judge about each set of rows, and closes it. Without a judge, rows stay as they are. */
export async function judgeSets(
  judge: InputsJudge | null,
  { plain, triggered, partial, ofTarget = [] }: SomeSets<readonly Row[]>,
): Promise<Sets<JudgedRows>> {
  const judgeSet = async (rows: readonly Row[]): Promise<JudgedRows> => {
    const ids = rows.map(({ id }) => id);
    if (judge === null || rows.length === 0) return { rows, rejected: null, judgement: null, ids };
    const judgement = await judgeRows(judge.name, judge.judge, rows);
    checkJudgement(judge.name, rows, judgement);
    return {
      rows: judgement.rows.map((row, i) => row ?? rows[i]!),
      rejected: judgement.rows.map((row) => row === null),
      judgement,
      ids,
    };
  };
  try {
    return {
      plain: await judgeSet(plain),
      triggered: await judgeSet(triggered),
      partial: await judgeSet(partial),
      ofTarget: await judgeSet(ofTarget),
    };
  } finally {
    judge?.judge.close?.();
  }
}

/**
 * Writes `defence.json`, what the judge was fitted on, and `scores.csv`, its scores of rows without
 * and with the trigger. Returns how well the scores tell these apart. Does nothing without a judge.
 */
export async function writeJudgements(
  { outDir, params }: Context,
  inputsJudge: InputsJudge | null,
  { plain, triggered }: Sets<JudgedRows>,
): Promise<Metrics> {
  if (inputsJudge === null) return {};
  const { name, judge, cleanRows } = inputsJudge;
  const judgements = [plain, triggered].flatMap(({ judgement }) => judgement ?? []);
  const examples = {
    scores: judgements.flatMap(({ scores }) => scores),
    suspected: judgements.flatMap(({ suspected }) => suspected),
    poisoned: [...plain.ids.map(() => false), ...triggered.ids.map(() => true)],
  };
  await writeJson(outDir, 'defence.json', {
    format: 1,
    defence: name,
    acts: 'inputs',
    params: params.defence,
    fitted_on: { clean_rows: cleanRows },
    threshold: scoreForJson(judge.threshold),
    ...judge.record,
  });
  await writeScores(outDir, [...plain.ids, ...triggered.ids], examples);
  return detectionRates('inputs', examples);
}
