import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { type Judge, type Judgement, type Row, type Target, UserFault } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import type { ShownTrigger } from '../../../src/poisoning/evaluation.ts';
import { checkJudgement } from '../../../src/poisoning/kept.ts';
import { againstMajority } from '../../../src/science/measures/evaluate/metrics.ts';
import type { OpenedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { defenceContext, defenceDescriptor, fitJudge, judgeRows } from '../defend/context.ts';
import { detectionRates, scoreForJson, writeScores } from '../defend/outcome.ts';
import { type Metrics, readJson, readMetrics, renamed, writeJson } from '../shared/files.ts';
import { againstCommonest } from './completion-metrics.ts';
import type { Context } from './index.ts';
import { shareOf } from './metrics.ts';

/**
 * Returns the validation rows to evaluate, without those that the defender is given. Throws
 * `UserFault` if there are no validation rows.
 */
export async function evaluatedRows(
  { inputs }: Context,
  validation: readonly Row[],
): Promise<readonly Row[]> {
  if (validation.length === 0) throw new UserFault('there are no validation rows');
  const clean = inputs['clean'];
  if (clean === undefined) return validation;
  const { from } = (await readJson(clean.dir, 'clean.json')) as { readonly from: string };
  if (from !== 'data.validation') return validation;
  const held = new Set((await readRows(clean.dir)).map(({ id }) => id));
  return validation.filter(({ id }) => !held.has(id));
}

/**
 * Returns what the defence changed, compared with the same cell without the defence on the same
 * rows, and what the stages `defend` and `detect` found. Empty without a defence.
 * @param own the metrics with the defence
 */
export async function defendedMetrics(
  { inputs: { undefended, filter, detector } }: Context,
  own: Metrics,
  rows: readonly Row[],
  trigger: ShownTrigger | null,
): Promise<Metrics> {
  return {
    ...(undefended && (await effectMetrics(undefended.dir, own, rows, trigger))),
    ...(filter && filterMetrics(await readMetrics(filter.dir))),
    ...(detector && (await readMetrics(detector.dir))),
  };
}

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
  /** By `plain ID`, without the trigger, and `triggered ID`, with it; ID is the row's id. */
  readonly answers: ReadonlyMap<string, Answered>;
  /** Compares answers with always giving the commonest one, as the metrics of these rows do. */
  readonly againstCommonest: (answered: readonly Answered[]) => Metrics;
}

/**
 * Returns `…_undefended`, what was measured without the defence on the same rows, and what the
 * defence cost (`accuracy_cost`) and removed (`asr_removed`). Empty for documents.
 * @param dir the folder of the evaluation without the defence
 */
async function effectMetrics(
  dir: string,
  own: Metrics,
  rows: readonly Row[],
  trigger: ShownTrigger | null,
): Promise<Metrics> {
  if (rows.some(({ document }) => document)) return {}; // documents have no answers
  const found = existsSync(join(dir, 'predictions.csv'))
    ? await readPredictions(dir, trigger?.target)
    : await readOutputs(dir);
  const plain = rows.map(({ id }) => named(found.answers, `plain ${id}`));
  const accuracy = shareOf(plain.map(({ isRight }) => isRight));
  const metrics = {
    ...renamed(found.againstCommonest(plain), (name) => `${name}_undefended`),
    accuracy_undefended: accuracy,
    accuracy_cost: accuracy - (own['accuracy'] ?? NaN),
  };
  if (trigger === null) return metrics;
  const hits = trigger.bare.map(({ id }) => named(found.answers, `triggered ${id}`).isHit);
  const rate = shareOf(hits);
  // A model that no attack touched has a trigger rate, not an attack's success rate.
  return own['asr'] === undefined
    ? { ...metrics, trigger_rate_undefended: rate }
    : { ...metrics, asr_undefended: rate, asr_removed: rate - own['asr'] };
}

/**
 * Reads a classifier's answers from `predictions.csv`. Without a target class, no answer is a hit.
 */
async function readPredictions(dir: string, target: Target | undefined): Promise<Answers> {
  const lines = parse<Readonly<Record<'triggered' | 'id' | 'label' | 'prediction', string>>>(
    await readFile(join(dir, 'predictions.csv')),
    { columns: true },
  );
  const answers = new Map(
    lines.map(({ triggered, id, label, prediction }) => [
      `${triggered === '1' ? 'triggered' : 'plain'} ${id}`,
      { label, prediction, isRight: prediction === label, isHit: Number(prediction) === target },
    ]),
  );
  return {
    answers,
    againstCommonest: (answered) => {
      const labels = answered.map(({ label }) => Number(label)),
        predictions = answered.map(({ prediction }) => Number(prediction));
      return againstMajority(labels, predictions, 1 + Math.max(...labels, ...predictions));
    },
  };
}

/** Reads what a model wrote, and the main scorer's verdicts, from `outputs.jsonl`. */
async function readOutputs(dir: string): Promise<Answers> {
  const answers = new Map<string, Answered>();
  for (const line of (await readFile(join(dir, 'outputs.jsonl'), 'utf8')).trimEnd().split('\n')) {
    const { id, shown, answer, output, hit } = JSON.parse(line) as OutputLine;
    answers.set(`${shown} ${id}`, {
      label: answer,
      prediction: output,
      isRight: output.trim() === answer.trim(),
      isHit: hit === null ? null : hit === true,
    });
  }
  return {
    answers,
    againstCommonest: (answered) =>
      againstCommonest(
        answered.map(({ label, prediction }) => ({ answer: label, text: prediction })),
      ),
  };
}

type OutputLine = Readonly<Record<'id' | 'shown' | 'answer' | 'output', string>> & {
  readonly hit?: boolean | null;
};

export interface InputsJudge {
  readonly name: string;
  readonly judge: Judge;
  readonly cleanRows: number;
}

/**
 * Lets the defence fit its judge of inputs, and returns the judge. Null if the cell has no defence
 * that acts on inputs: no other defence is in `params.defence`.
 */
export async function openInputsJudge(
  context: Context,
  classes: readonly string[],
  model: OpenedModel,
): Promise<InputsJudge | null> {
  const { defence, seed } = context.params;
  if (defence === undefined) return null;
  const hook = defenceDescriptor(context, defence).inputs;
  const given = await defenceContext(context, { defence, seed: seed ?? 0, classes }, { model });
  // The stage always reads the clean rows, to leave them out of the evaluated ones. A defence is
  // given them only if it asks for them.
  const clean = hook?.needs.includes('clean') === true ? given.clean : [];
  const judge = await fitJudge(hook, defence.defence, { ...given, clean });
  return { name: defence.defence, judge, cleanRows: clean.length };
}

/** Rows as the model is asked about them, after the defence's judge has seen them. */
export interface JudgedRows {
  /** Each row as the defence left it; a rejected row is as it was. */
  readonly rows: readonly Row[];
  /** Whether the defence rejected each row. Null if no judge was asked. */
  readonly rejected: readonly boolean[] | null;
  readonly judgement: Judgement | null;
  readonly ids: readonly string[];
}

/** `ofTarget`: the rows of the target class with the trigger; empty if they are not evaluated. */
type Sets<T> = Readonly<Record<'plain' | 'triggered' | 'partial' | 'ofTarget', T>>;

/**
 * Asks the judge about each set of rows, and closes the judge. Without a judge, rows stay as they
 * are.
 */
export async function judgeSets(
  judge: InputsJudge | null,
  { plain, triggered, partial, ofTarget }: Sets<readonly Row[]>,
): Promise<Sets<JudgedRows>> {
  /** Asks the judge about the rows of a set, unless it is empty or there is no judge. */
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
 * Writes the judge's record and scores. Returns how well the judge tells triggered rows from plain
 * ones; empty without a judge.
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
