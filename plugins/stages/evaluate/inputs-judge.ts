/** A defence that stands between a model and what it is asked. */
import type { Judge, Judgement, Row, RunContext } from '../../../src/api.ts';
import { checkJudgement } from '../../../src/poisoning/kept.ts';
import type { OpenedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { defenceContext, fittedJudge, judged, openedDefence } from '../defend/context.ts';
import { detectionRates, finite, writeScores } from '../defend/outcome.ts';
import { type Metrics, writeJson } from '../shared/files.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;

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
  const hook = openedDefence(context, defence).inputs;
  const given = await defenceContext(context, { defence, seed: seed ?? 0, classes }, { model });
  // The evaluation itself needs the clean rows, to leave them out; only some defences are told.
  const clean = hook?.needs.includes('clean') === true ? given.clean : [];
  const judge = await fittedJudge(hook, defence.defence, { ...given, clean });
  return { name: defence.defence, judge, cleanRows: clean.length };
}

/** Rows as the model is asked about them. */
export interface Guarded {
  /** What the defence left of each row; a rejected row is as it was. */
  readonly rows: readonly Row[];
  /** Null without a defence. */
  readonly rejected: readonly boolean[] | null;
  readonly judgement: Judgement | null;
  readonly ids: readonly string[];
}

type Sets<T> = Readonly<Record<'plain' | 'triggered' | 'partial', T>>;

/** Asks the judge about each set of rows. */
export async function guarded(
  judge: InputsJudge | null,
  { plain, triggered, partial }: Sets<readonly Row[]>,
): Promise<Sets<Guarded>> {
  const guard = async (rows: readonly Row[]): Promise<Guarded> => {
    const ids = rows.map(({ id }) => id);
    if (judge === null || rows.length === 0) return { rows, rejected: null, judgement: null, ids };
    const judgement = await judged(judge.name, judge.judge, rows);
    checkJudgement(judge.name, rows, judgement);
    return {
      rows: judgement.rows.map((row, i) => row ?? rows[i]!),
      rejected: judgement.rows.map((row) => row === null),
      judgement,
      ids,
    };
  };
  return {
    plain: await guard(plain),
    triggered: await guard(triggered),
    partial: await guard(partial),
  };
}

/**
 * Writes `defence.json`, what the judge was fitted on, and `scores.csv`, its scores of rows without
 * and with the trigger. Returns how well it tells them apart.
 */
export async function writeGuard(
  { outDir, params }: Context,
  { name, judge, cleanRows }: InputsJudge,
  { plain, triggered }: Sets<Guarded>,
): Promise<Metrics> {
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
    threshold: finite(judge.threshold),
    ...judge.record,
  });
  await writeScores(outDir, [...plain.ids, ...triggered.ids], examples);
  return detectionRates('inputs', examples);
}
