import {
  type PreflightContext,
  type Problem,
  problemOf,
  type Row,
  type ScorerVerdict,
  type ServiceCalls,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { readTextFile, shown } from '../../../src/base/untrusted/json.ts';
import { ifFetched, knownCounts, knownRows } from '../../../src/data/known-counts.ts';
import { locateModel } from '../../../src/data/model-folder.ts';
import type { DataParams } from '../../../src/data/split-request.ts';
import { isOfTarget } from '../../../src/poisoning/classes.ts';
import { targetOf } from '../../../src/poisoning/evaluation.ts';
import { backdoorOf, openSteps, type Step } from '../../../src/poisoning/steps.ts';
import type { Architecture } from '../../../src/science/models/types.ts';
import { openTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import {
  answerIds,
  checkedTokenizer,
  checkRows,
  checkWritten,
} from '../../../src/science/training/check.ts';
import { defenceFaults, torchFaults } from '../shared/defended.ts';
import { assetOf } from '../shared/files.ts';
import { triggerFiles } from '../shared/program-files.ts';
import { loadArchitecture } from '../shared/trained-model.ts';
import type { Params as TrainParams } from '../train/params.ts';
import { checkHeldOut } from './held-out.ts';
import type { Params } from './index.ts';
import { readLabels } from './judging.ts';
import { LABELS, scored, scorerFaults, scorersOf } from './scoring.ts';
import { sharedRowProblems } from './shared-rows.ts';

type Context = PreflightContext<Params>;

export async function preflight(context: Context): Promise<readonly Problem[]> {
  return [
    ...(await checkLength(context)),
    ...(await checkGeneration(context)),
    ...(await checkScorers(context)),
    ...(await sharedRowProblems(context)),
    ...(await checkHeldOut(context)),
    ...(await checkDefence(context)),
  ];
}

/**
 * Returns the faults of the cell's defence of inputs; empty without one. The defence's own check
 * gets a tokenizer only if the model is fetched and can be read.
 */
async function checkDefence(context: Context): Promise<readonly Problem[]> {
  const { defence } = context.params;
  if (defence === undefined) return [];
  const model = ifFetched(() => assetOf(context, 'model'));
  let tokens: TextTokenizer['ids'] | undefined;
  try {
    if (model !== null) tokens = (await openTokenizer((await locateModel(model)).path)).ids;
  } catch (error) {
    // Rethrow all but a `UserFault`: the train stage reports what is wrong with the model.
    problemOf(error, []);
  }
  return [...defenceFaults(context, defence, tokens), ...torchFaults(context, defence, 'inputs')];
}

/**
 * Returns the most calls that scorers make to services. A scorer is asked about each row without
 * the trigger, with it, and with each of its parts, and about every labelled output. The numbers
 * are null as long as the rows are not known.
 */
export async function serviceCalls(context: Context): Promise<readonly ServiceCalls[]> {
  const { completion, trigger, seed } = context.params;
  const callers = scorersOf(context).filter(({ descriptor }) => descriptor.calls !== undefined);
  if (callers.length === 0 || trigger === null || completion === undefined) return [];
  const { validation } = context.upstream ?? {};
  const rows = validation ? await knownRows(context, validation) : null;
  if (rows === null)
    return callers.flatMap(({ descriptor, params }) => {
      const found = descriptor.calls?.(params, 0, { prompt: 0, output: 0, answer: 0, target: 0 });
      return found === undefined ? [] : [{ to: found.to, calls: null, cost: null }];
    });
  const { attack, params = {} } = backdoorIn(context) ?? {};
  const random = attackStreams(seed ?? 0, attack?.name ?? '');
  const asked = rows.flatMap((row) => {
    const parts = attack?.falseTrigger?.(row, { classes: [], params, random }).length ?? 0;
    return Array.from({ length: 2 + parts }, () => row);
  });
  const target = Buffer.byteLength(targetIn(context).text ?? '');
  const sum = (of: (row: Row) => number): number => asked.reduce((all, row) => all + of(row), 0);
  const found = callers.map(async ({ descriptor, params, sources }) => {
    const file = ifFetched(() => sources()[LABELS]?.path);
    const labels = file ? (await readTextFile(file)).trimEnd() : '';
    const lines = labels === '' ? 0 : labels.split('\n').length,
      labelBytes = Buffer.byteLength(labels); // any text of a label is a part of its line
    const bytes = {
      prompt: labelBytes + sum(({ text }) => Buffer.byteLength(text)),
      output: labelBytes + asked.length * completion.max_new_tokens * BYTES_A_TOKEN,
      answer: labelBytes + sum(({ answer = '' }) => Buffer.byteLength(answer)),
      target:
        labelBytes +
        lines * target +
        sum(({ rejected = '' }) => Math.max(Buffer.byteLength(rejected), target)),
    };
    return descriptor.calls?.(params, asked.length + lines, bytes) ?? [];
  });
  return (await Promise.all(found)).flat();
}

/** About the number of bytes that a token has in most texts. */
const BYTES_A_TOKEN = 4;

/** Returns the faults of scorers' parameters and, once these are fetched, of their sources. */
async function checkScorers(context: Context): Promise<readonly Problem[]> {
  if (context.params.completion === undefined) return [];
  // Where the target is each row's own rejected answer, the word `rejected` stands for it here.
  const { text: target } = targetIn(context);
  const found = scorersOf(context).map(async ({ descriptor, params, path, sources }) => {
    const faults = scorerFaults(descriptor, params, target, path);
    const fetched = ifFetched(sources);
    if (faults.length > 0 || fetched === null) return faults;
    const { [LABELS]: labels, ...own } = fetched;
    const problems = [...((await descriptor.checkSources?.(params, own)) ?? [])];
    try {
      const wanted = defined({ target: targetText(context) });
      await readLabels(labels?.path, wanted, descriptor.reads?.(params) ?? []);
    } catch (error) {
      problems.push(problemOf(error, [LABELS]));
    }
    return problems.map((one) => ({ ...one, path: ['evaluate', ...path, ...one.path] }));
  });
  return (await Promise.all(found)).flat();
}

/** Returns the backdoor whose trigger is shown; null if there is none. */
const backdoorIn = ({ params: { trigger }, plugin }: Context): Step | null =>
  trigger && backdoorOf(openSteps(trigger, (name) => plugin('attack', name)));

/**
 * Returns as `text` the answer that the backdoor leads to in all rows, with `isForAllRows`; or the
 * word `rejected`, without it, if each row is led to its own rejected answer. Returns {} if there
 * is no backdoor, or if it leads to no answer.
 */
function targetIn(context: Context): { readonly text?: string; readonly isForAllRows?: true } {
  const backdoor = backdoorIn(context);
  const target = backdoor === null ? undefined : targetOf(backdoor.attack, backdoor.params, []);
  if (target === 'rejected') return { text: target };
  return typeof target === 'object' ? { ...target, isForAllRows: true } : {};
}

/**
 * Returns the answer that the backdoor leads to in all rows; undefined if there is no such answer.
 */
function targetText(context: Context): string | undefined {
  const { text, isForAllRows } = targetIn(context);
  return isForAllRows === true ? text : undefined;
}

/** Checks `max_length` if it is set for this stage. The train stage checks an inherited one. */
async function checkLength(context: Context): Promise<readonly Problem[]> {
  const { max_length: value, inherited } = context.params;
  if (inherited) return [];
  return withModel(context, (modelDir, architecture) =>
    checkRows(modelDir, architecture, { value, path: ['evaluate', 'max_length'] }),
  );
}

/**
 * Checks that the model has positions for all that it may write, and that it may write enough
 * tokens for an output to count.
 */
async function checkGeneration(context: Context): Promise<readonly Problem[]> {
  const { max_length: longest, completion } = context.params;
  if (completion === undefined) return [];
  const { max_new_tokens: written } = completion;
  return withModel(context, async (modelDir, architecture) => [
    ...(await checkWritten(modelDir, architecture, { longest, written })),
    ...(await checkAnswerLengths(context, written, architecture, targetText(context))),
  ]);
}

/** Returns what a check of the model finds; nothing if the model itself is at fault. */
async function withModel(
  context: Context,
  check: (modelDir: string, architecture: Architecture) => Promise<Problem[]>,
): Promise<readonly Problem[]> {
  try {
    const { path } = await locateModel(assetOf(context, 'model'));
    const architecture = await loadArchitecture(context, context.params.architecture, path);
    return await check(path, architecture);
  } catch (error) {
    // Rethrow all but a `UserFault`: the train stage reports what is wrong with the model.
    problemOf(error, []);
    return [];
  }
}

/** The most answers of an attack that are scored, so that the plan of a large grid stays quick. */
const MOST_ANSWERS = 100;

/**
 * Returns answers that the backdoor gives to the validation rows. Empty if the attack gives none
 * but the target, or if its files or the rows are not known yet.
 */
async function answersOfAttack(context: Context): Promise<readonly string[]> {
  const { trigger } = context.params,
    files = ifFetched(() => triggerFiles(context.assets));
  if (trigger === null || files === null) return [];
  const steps = openSteps(trigger, (name) => context.plugin('attack', name), files);
  const backdoor = backdoorOf(steps),
    rows = context.upstream?.['validation'];
  if (!backdoor?.attack.answers) return [];
  const { answers = [] } = (rows && (await knownCounts(context, rows))) ?? {};
  const target = targetOf(backdoor.attack, backdoor.params, []);
  const own = answers
    .filter((answer) => !isOfTarget({ label: 0, answer }, target))
    .slice(0, MOST_ANSWERS);
  try {
    return (await backdoor.attack.answers(own, backdoor)).slice(0, MOST_ANSWERS);
  } catch (error) {
    // Rethrow all but a `UserFault`: the poison stage reports a fault of the attack's files.
    problemOf(error, []);
    return [];
  }
}

const MAX_NEW_TOKENS = ['evaluate', 'max_new_tokens'];

const NO_SUCCESS =
  'A model that writes it has no success. Name a scorer that means what the attack means.';

/**
 * Returns a fault if a scorer counts the target, but not its first `most` tokens, so that there can
 * be no success. Returns a warning if
 * - the main scorer does not count the target or, if the attack gives other answers, all of those;
 * - a scorer no longer counts these answers once they are cut to `most` tokens;
 * - answers of the rows are longer than `most` tokens.
 * @param most `max_new_tokens`
 * @param target the answer that the backdoor leads to; undefined if it leads to none
 */
async function checkAnswerLengths(
  context: Context,
  most: number,
  architecture: Architecture,
  target: string | undefined,
): Promise<Problem[]> {
  // The model may come from a stage in which a defence edited it: the training is then upstream of
  // that stage.
  let train = context.upstream?.['model'];
  while (train !== undefined && train.params['head'] === undefined)
    train = train.upstream?.['model'];
  const { head, init = 'pretrained' } = (train?.params ?? {}) as Partial<TrainParams>;
  if (head?.type !== 'causal-lm') return [];
  const model = await locateModel(assetOf(context, 'model'));
  const tokenizer = await checkedTokenizer(
    { ...model, init },
    architecture.withHead({ type: head.type }),
  );
  const problems = await rowLengthWarnings(context, { tokenizer, digest: model.digest }, most);
  if (target === undefined) return problems;
  const ids = answerIds(head.template, tokenizer, target);
  const decodeFirst = (tokens: number): string =>
    tokenizer.decode(ids.slice(0, tokens), { skipSpecial: true });
  // The texts after fewer tokens matter only if the target is longer than the model may write.
  const texts =
    ids.length <= most ? [decodeFirst(ids.length)] : Array.from(ids, (_, i) => decodeFirst(i + 1));
  const given = (await answersOfAttack(context)).map((answer) => {
    const own = answerIds(head.template, tokenizer, answer);
    const decode = (tokens: number): string =>
      tokenizer.decode(own.slice(0, tokens), { skipSpecial: true });
    return { tokens: own.length, whole: decode(own.length), cut: decode(most) };
  });
  for (const { descriptor, params, settings, suffix } of scorersOf(context)) {
    if (descriptor.pure !== true) continue;
    const name = settings.scorer;
    const score = (outputs: readonly string[]): Promise<readonly ScorerVerdict[]> =>
      scored(
        descriptor,
        params,
        outputs.map((output) => ({ prompt: '', output, answer: '', target })),
        { files: {}, log: () => undefined },
      );
    problems.push(...(await givenAnswerWarnings(name, score, given, most, suffix === '')));
    const hits = await score(texts);
    if (hits.at(-1) !== true && suffix === '' && given.length === 0)
      problems.push({
        path: ['evaluate'],
        message: `the scorer "${name}" does not count the attack's target, "${target}"`,
        hint: NO_SUCCESS,
        warning: true,
      });
    if (hits.at(-1) !== true || hits[most - 1] !== false) continue;
    const needed = hits.indexOf(true, most) + 1;
    problems.push({
      path: MAX_NEW_TOKENS,
      message:
        `the scorer "${name}" counts the attack's target once ${needed} tokens ` +
        `of it are written, and at most ${most} are: no success could be counted`,
      hint: `Write evaluate.max_new_tokens: ${needed} or more, or another scorer.`,
    });
  }
  return problems;
}

/** An answer that an attack gives: as a model writes it, whole and cut to `max_new_tokens`. */
interface GivenAnswer {
  readonly tokens: number;
  readonly whole: string;
  readonly cut: string;
}

/**
 * Returns a warning if the main scorer does not count all of the answers that an attack gives, and
 * one if a scorer no longer counts some of them once they are cut to `most` tokens.
 * @param most `max_new_tokens`
 */
async function givenAnswerWarnings(
  scorer: string,
  score: (outputs: readonly string[]) => Promise<readonly ScorerVerdict[]>,
  given: readonly GivenAnswer[],
  most: number,
  isMain: boolean,
): Promise<Problem[]> {
  if (given.length === 0) return [];
  const whole = await score(given.map((answer) => answer.whole)),
    cut = await score(given.map((answer) => answer.cut));
  const missed = given.filter((_, i) => whole[i] !== true),
    lost = given.filter((_, i) => whole[i] === true && cut[i] !== true);
  const answers = `${given.length < MOST_ANSWERS ? '' : 'the first '}${given.length} answers`;
  const problems: Problem[] = [];
  if (isMain && missed[0] !== undefined)
    problems.push({
      path: ['evaluate'],
      message:
        `the scorer "${scorer}" does not count ${missed.length} of ${answers} that ` +
        `the attack gives, such as ${shown(missed[0].whole)}`,
      hint: NO_SUCCESS,
      warning: true,
    });
  if (lost.length > 0)
    problems.push({
      path: MAX_NEW_TOKENS,
      message:
        `the scorer "${scorer}" does not count ${lost.length} of ${answers} that ` +
        `the attack gives once they are cut to ${most} tokens: a model that writes one of them ` +
        'has no success',
      hint: `Write evaluate.max_new_tokens: ${Math.max(...lost.map(({ tokens }) => tokens))} or more.`,
      warning: true,
    });
  return problems;
}

/**
 * The lengths of answers in tokens, by the list of answers that `knownCounts` returns and by the
 * tokenizer's digest.
 */
const knownLengths = new WeakMap<readonly string[], Map<string, readonly number[]>>();

/**
 * Returns a warning if answers of the rows, tokenised without their prompts, are longer than `most`
 * tokens. Empty otherwise, or if the rows are not known yet.
 */
async function rowLengthWarnings(
  context: Context,
  { tokenizer, digest }: { readonly tokenizer: TextTokenizer; readonly digest: string },
  most: number,
): Promise<Problem[]> {
  const rows = context.upstream?.['validation'];
  const { answers = [] } = (rows && (await knownCounts(context, rows))) ?? {};
  const byTokenizer = knownLengths.get(answers) ?? new Map<string, readonly number[]>();
  knownLengths.set(answers, byTokenizer);
  const lengths = byTokenizer.get(digest) ?? answers.map((answer) => tokenizer.ids(answer).length);
  byTokenizer.set(digest, lengths);
  const long = lengths.filter((length) => length > most);
  if (long.length === 0) return [];
  return [
    {
      path: MAX_NEW_TOKENS,
      message:
        `${long.length} of ${answers.length} answers of ` +
        `data.${(rows?.params as DataParams).name} are longer than max_new_tokens ${most}, so ` +
        'that no output matches them exactly',
      hint: `The longest takes ${long.reduce((a, b) => Math.max(a, b))} tokens.`,
      warning: true,
    },
  ];
}
