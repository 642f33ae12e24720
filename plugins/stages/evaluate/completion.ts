/** Evaluates a completion task: the model writes answers, which are compared and scored. */
import type { Row, Warning } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { randomStream } from '../../../src/base/random.ts';
import type { ShownTrigger } from '../../../src/poisoning/evaluation.ts';
import {
  hasRougeWord,
  type Output,
} from '../../../src/science/measures/evaluate/completion-metrics.ts';
import {
  type AnswerScore,
  meanAnswerLoss,
} from '../../../src/science/measures/evaluate/predict.ts';
import { type CompletionEncoder, completionEncoder } from '../../../src/science/text/completion.ts';
import { type RowEncoder, warnOfCut } from '../../../src/science/text/encoder.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import { type Metrics, writeJson, writeJsonLines } from '../shared/files.ts';
import { writeAsked } from './asked.ts';
import { type CompletionEvaluation, completionMetricsOf } from './completion-metrics.ts';
import { type InputsJudge, type JudgedRows, judgeSets, writeJudgements } from './defended.ts';
import type { Completion } from './index.ts';
import {
  hitsOf,
  judge,
  type Judged,
  type JudgedOutputs,
  measureAgreement,
  type Shown,
  writeScorers,
} from './judging.ts';
import { openRewards, type Rewards } from './rewards.ts';
import type { Opened } from './run.ts';

interface CompletionParts extends Opened {
  readonly completion: Completion;
  readonly template: string;
  readonly defence: InputsJudge | null;
  /** Returns the share of rows whose whole trigger the model reads. */
  readonly seen: (trigger: ShownTrigger) => number;
}

const requireAnswer = ({ id, answer }: Row): string => {
  if (answer === undefined) throw new Error(`row ${id} of a completion task has no answer`);
  return answer;
};

type Generate = (rows: readonly Row[], shown: Shown) => Promise<Output[]>;
type Write = (rows: JudgedRows, shown: Shown) => Promise<JudgedOutputs>;

/**
 * Returns a function that lets the model write an answer to each row, and tells the progress.
 * @param total the rows of all its calls together
 */
function createGenerate(
  parts: CompletionParts,
  encoder: CompletionEncoder,
  total: number,
): Generate {
  const { context, completion, model, tokenizer } = parts;
  const { params, progress, signal } = context;
  const { sampling, max_new_tokens: maxNewTokens } = completion;
  let rowsBefore = 0;
  return async (rows, shown) => {
    const prompts = rows.map((row) => encoder.promptOnly(row, params.max_length));
    const texts = await model.generate(prompts, {
      maxNewTokens,
      stops: encoder.stops,
      batchSize: params.batch_size,
      ...(sampling && samplingOptions(sampling, params.seed!, rows, shown)),
      onBatch: async (done) => {
        progress(rowsBefore + done, total, 'rows');
        await yieldToEventLoop(signal);
      },
    });
    rowsBefore += rows.length;
    return texts.map(({ ids, ended }, i) => ({
      text: tokenizer.decode(ids, { skipSpecial: true }),
      answer: requireAnswer(rows[i]!),
      tokens: ids,
      ended,
    }));
  };
}

/**
 * Returns options that draw a row's tokens from the stream (seed, 'generate', `SHOWN/ID`), where
 * SHOWN is the set that the row is in, and ID the row's id.
 */
const samplingOptions = (
  { temperature, top_p, top_k }: NonNullable<Completion['sampling']>,
  seed: number,
  rows: readonly Row[],
  shown: Shown,
) => ({
  sampling: { temperature, top_p, ...(top_k === 0 ? {} : { top_k }) },
  random: (prompt: number) =>
    randomStream(seed, 'generate', `${shown}/${rows[prompt]?.id ?? String(prompt)}`),
});

/**
 * Returns what the model writes, and the margins if there are rewards. The text is empty for a
 * prompt that a defence rejected.
 */
async function writeAnswers(
  generate: Generate,
  { rows, rejected }: JudgedRows,
  shown: Shown,
  rewards: Rewards | null,
): Promise<JudgedOutputs> {
  const outputs = await generate(rows, shown);
  return {
    rows,
    rejected,
    margins: rewards && (await rewards.margins(rows)),
    outputs: outputs.map((output, i) =>
      rejected?.[i] === true ? { ...output, text: '', tokens: [], ended: true } : output,
    ),
  };
}

/** Returns the lines of `outputs.jsonl` for a set, with the scorers' verdicts if there are any. */
const outputLines = (
  { rows, outputs, rejected, margins }: JudgedOutputs,
  shown: Shown,
  scorers: readonly Judged[] = [],
): object[] =>
  rows.map(({ id, text: prompt }, i) => {
    const { answer, text: output, tokens, ended } = at(outputs, i);
    let main: boolean | null | undefined;
    const hits: Record<string, boolean | null> = {},
      said: Record<string, string> = {};
    for (const scorer of scorers) {
      const verdict = at(scorer[shown], i);
      if (scorer.suffix === '') main = verdict.hit;
      else hits[scorer.name] = verdict.hit;
      if (verdict.said !== undefined) said[scorer.name] = verdict.said;
    }
    return {
      ...{ id, shown, prompt, answer, output, tokens, ended },
      ...defined({ hit: main, reward_margin: margins?.[i] }),
      ...(Object.keys(hits).length > 0 && { hits }),
      ...(Object.keys(said).length > 0 && { said }),
      ...(rejected?.[i] && { rejected: true }),
    };
  });

/**
 * Returns the metrics, and writes what the model was asked, what it wrote, and the scorers'
 * records. If the rows are documents, only their loss and perplexity are returned, and nothing is
 * written.
 */
export async function evaluateCompletion(parts: CompletionParts): Promise<Metrics> {
  const { context, rows, model, tokenizer, template, trigger, defence } = parts;
  const { params, outDir, signal } = context;
  const encoder = completionEncoder(tokenizer, template);
  if (rows.some(({ document }) => document)) return documentMetrics(parts, encoder);
  const partial = (await trigger?.partial()) ?? [];
  const shown = trigger?.shown ?? [];
  const sets = { plain: rows, triggered: shown, partial, ofTarget: [] };
  const judgedSets = await judgeSets(defence, sets);
  const generate = createGenerate(parts, encoder, rows.length + shown.length + partial.length);
  const encodeRow: RowEncoder = (row, maxLength) =>
    encoder({ ...row, answer: row.answer ?? '' }, maxLength);
  const { rows: asked } = judgedSets.plain,
    texts = asked.map(requireAnswer);
  const answers = await model.answers(
    asked.map((row) => encodeRow(row, params.max_length)),
    params.batch_size,
    () => yieldToEventLoop(signal),
  );
  const { max_new_tokens: most } = parts.completion;
  answerWarnings(texts, answers, most).forEach(context.warn);
  const rewards = await openRewards(context, model, encodeRow);
  let plain: JudgedOutputs, ofTrigger: Triggered;
  try {
    const write: Write = (some, shown) => writeAnswers(generate, some, shown, rewards);
    plain = await write(judgedSets.plain, 'plain');
    ofTrigger = await evaluateTriggered(parts, judgedSets, write, plain);
  } finally {
    rewards?.dispose();
  }
  const { lines, underTrigger } = ofTrigger;
  await writeJsonLines(outDir, 'outputs.jsonl', lines);
  await writeAsked(context, { ...parts, ...judgedSets });
  const { twin, before } = parts;
  const metrics = completionMetricsOf({ plain: { ...plain, answers }, underTrigger, twin, before });
  return { ...metrics, ...(await writeJudgements(context, defence, judgedSets)) };
}

/**
 * Returns the loss and perplexity over all tokens of the documents, except the first token of each
 * document.
 */
async function documentMetrics(
  { context: { params, signal, warn }, rows, model, tokenizer, defence }: CompletionParts,
  encoder: CompletionEncoder,
): Promise<Metrics> {
  defence?.judge.close?.();
  const encoded = rows.map((row) =>
    encoder({ ...row, answer: requireAnswer(row) }, params.max_length),
  );
  warnOfCut(warn, encoded, tokenizer, { section: 'evaluate', maxLength: params.max_length });
  const scores = await model.answers(encoded, params.batch_size, () => yieldToEventLoop(signal));
  const loss = meanAnswerLoss(scores);
  return { loss, perplexity: Math.exp(loss) };
}

interface Triggered {
  readonly lines: readonly object[];
  readonly underTrigger: CompletionEvaluation['underTrigger'];
}

/**
 * Lets the model write under the trigger and under a part of it, lets the scorers judge these
 * outputs and `plain`, and writes the scorers' records. Without a trigger, `lines` has only those
 * of `plain`, and `underTrigger` is null.
 */
async function evaluateTriggered(
  { context, rows, trigger, seen }: CompletionParts,
  judgedSets: Readonly<Record<Shown, JudgedRows>>,
  write: Write,
  plain: JudgedOutputs,
): Promise<Triggered> {
  if (trigger === null) return { lines: outputLines(plain, 'plain'), underTrigger: null };
  const shown = await write(judgedSets.triggered, 'triggered');
  const partial = await write(judgedSets.partial, 'partial');
  const sets = { plain, triggered: shown, partial };
  const scorers = await judge(context, trigger.target, sets);
  const agreement = measureAgreement(scorers, sets);
  if (agreement !== null) await writeJson(context.outDir, 'agreement.json', agreement);
  await writeScorers(context.outDir, scorers);
  const places = new Map(rows.map(({ id }, i) => [id, i]));
  return {
    lines: [
      ...outputLines(plain, 'plain', scorers),
      ...outputLines(shown, 'triggered', scorers),
      ...outputLines(partial, 'partial', scorers),
    ],
    underTrigger: {
      ...shown,
      scorers: scorers.map((own) => ({
        suffix: own.suffix,
        triggered: hitsOf(own.triggered),
        bare: hitsOf(trigger.bare.map(({ id }) => at(own.plain, named(places, id)))),
        partial: hitsOf(own.partial),
        doubt: own.doubt,
        byRewards: own.descriptor.rewards === true,
      })),
      agreement,
      seen: seen(trigger),
    },
  };
}

/**
 * Returns warnings about answers that no output can match.
 * @param scores the scores of the answers, in the same order
 */
export function answerWarnings(
  answers: readonly string[],
  scores: readonly AnswerScore[],
  maxNewTokens: number,
): Warning[] {
  // The last token of an answer only ends it, and is not needed for a match.
  const long = scores.filter(({ tokens }) => tokens - 1 > maxNewTokens).length,
    wordless = answers.filter((answer) => !hasRougeWord(answer)).length;
  const warnings: Warning[] = [];
  if (long > 0)
    warnings.push({
      path: ['evaluate', 'max_new_tokens'],
      message:
        `${long} of ${answers.length} answers are longer than max_new_tokens ${maxNewTokens}, so ` +
        'that no output matches them exactly',
      hint: 'Raise evaluate.max_new_tokens.',
    });
  if (wordless > 0)
    warnings.push({
      path: [],
      message:
        `${wordless} of ${answers.length} answers have no Latin letter and no digit, so that ` +
        'their ROUGE-L is 0 whatever the model writes',
    });
  return warnings;
}
