/** Evaluates a completion task: the model writes answers, which are compared and scored. */
import {
  type JsonObject,
  type Row,
  type RunContext,
  type ScorerDescriptor,
  type Target,
} from '../../../src/api.ts';
import { scorerFiles } from '../../../src/command/files.ts';
import type { ShownTrigger } from '../../../src/poisoning/shown-trigger.ts';
import { randomStream } from '../../../src/random/random.ts';
import { scoreAnswers } from '../../../src/science/evaluate/answers.ts';
import type { Output } from '../../../src/science/evaluate/completion-metrics.ts';
import { generate } from '../../../src/science/generate/generate.ts';
import { at } from '../../../src/science/lookup.ts';
import type { Network } from '../../../src/science/nn/network.ts';
import { type CompletionEncoder, completionEncoder } from '../../../src/science/text/completion.ts';
import type { RowParts } from '../../../src/science/text/encoder.ts';
import type { TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import { scored, scorerRecord, type ScorerSettings } from '../../../src/scoring/settings.ts';
import { breathe } from '../../../src/stages/breathe.ts';
import { type Metrics, writeJson, writeJsonLines } from '../../../src/stages/files.ts';
import {
  type CompletionEvaluation,
  completionMetricsOf,
  type ScoredOutputs,
} from './completion-metrics.ts';
import type { Completion, Params } from './index.ts';
import { type Guarded, guarded, type InputsJudge, writeGuard } from './inputs-judge.ts';

type Context = RunContext<Params>;

export interface CompletionParts {
  readonly context: Context;
  readonly completion: Completion;
  readonly rows: readonly Row[];
  readonly network: Network;
  readonly tokenizer: TextTokenizer;
  /** The template of the head. */
  readonly template: string;
  readonly rowParts: RowParts;
  readonly trigger: ShownTrigger | null;
  readonly twin: Metrics | null;
  readonly before: Metrics | null;
  /** The defence that stands before the model; null if there is none. */
  readonly guard: InputsJudge | null;
  /** Returns the share of rows whose whole trigger the model reads. */
  readonly seen: (trigger: ShownTrigger) => number;
}

/** Which rows of `outputs.jsonl` a line belongs to. */
type Shown = 'plain' | 'triggered' | 'partial';

const answerOf = ({ id, answer }: Row): string => {
  if (answer === undefined) throw new Error(`row ${id} of a completion task has no answer`);
  return answer;
};

/** Writes the model's answers to the rows. */
type Write = (rows: readonly Row[], shown: Shown) => Promise<Output[]>;

function writer(parts: CompletionParts, encoder: CompletionEncoder, total: number): Write {
  const { context, completion, network, tokenizer } = parts;
  const { params, progress, signal } = context;
  const { sampling, max_new_tokens: maxNewTokens } = completion;
  let before = 0;
  return async (rows, shown) => {
    const prompts = rows.map((row) => encoder.promptOnly(row, params.max_length));
    const texts = await generate(network, prompts, {
      maxNewTokens,
      stops: encoder.stops,
      batchSize: params.batch_size,
      ...(sampling === undefined || params.seed === null
        ? {}
        : drawing(sampling, params.seed, rows, shown)),
      onBatch: async (done) => {
        progress(before + done, total, 'rows');
        await breathe(signal);
      },
    });
    before += rows.length;
    return texts.map(({ ids, ended }, i) => ({
      text: tokenizer.decode(ids, { skipSpecial: true }),
      answer: answerOf(rows[i]!),
      tokens: ids,
      ended,
    }));
  };
}

/** Each row's tokens are drawn from the stream (seed, 'generate', `SHOWN/ID`). */
const drawing = (
  { temperature, top_p, top_k }: NonNullable<Completion['sampling']>,
  seed: number,
  rows: readonly Row[],
  shown: Shown,
) => ({
  sampling: { temperature, top_p, ...(top_k === 0 ? {} : { top_k }) },
  random: (prompt: number) =>
    randomStream(seed, 'generate', `${shown}/${rows[prompt]?.id ?? String(prompt)}`),
});

/** Says of each output whether the backdoor succeeded, which it never does where it is rejected. */
type Judge = (answered: Answered) => Promise<readonly boolean[]>;

function judge(context: Context, settings: ScorerSettings, target: Target): Judge {
  const { assets, log, signal } = context;
  const scorer = context.plugin<ScorerDescriptor>('scorer', settings.scorer);
  const wanted = typeof target === 'number' ? {} : { target: target.text };
  return async ({ rows, outputs, rejected }) => {
    const hits = await scored(
      scorer,
      settings,
      rows.map((row, i) => ({
        prompt: row.text,
        output: at(outputs, i).text,
        answer: answerOf(row),
        ...wanted,
      })),
      { files: scorerFiles(assets), log, signal },
    );
    return rejected === null ? hits : hits.map((hit, i) => hit && rejected[i] !== true);
  };
}

/** What the model wrote for some rows, as the defence let it. */
interface Answered {
  /** The rows as the model was asked about them. */
  readonly rows: readonly Row[];
  readonly outputs: readonly Output[];
  /** The rows that a defence rejected. Null without a defence. */
  readonly rejected: readonly boolean[] | null;
}

/** Writes the answers. A prompt that is rejected has none, which counts as an empty answer. */
async function answered(
  write: Write,
  { rows, rejected }: Guarded,
  shown: Shown,
): Promise<Answered> {
  const outputs = await write(rows, shown);
  return {
    rows,
    rejected,
    outputs: outputs.map((output, i) =>
      rejected?.[i] === true ? { ...output, text: '', tokens: [], ended: true } : output,
    ),
  };
}

/** A line of `outputs.jsonl`. */
const line = (
  { rows, outputs, rejected }: Answered,
  i: number,
  shown: Shown,
  hit: boolean | undefined,
): JsonObject => {
  const row = at(rows, i),
    output = at(outputs, i);
  return {
    id: row.id,
    shown,
    prompt: row.text,
    answer: output.answer,
    output: output.text,
    ended: output.ended,
    ...(hit === undefined ? {} : { hit }),
    ...(rejected?.[i] === true ? { rejected: true } : {}),
  };
};

/**
 * Returns the metrics, and writes `outputs.jsonl` (what the model wrote, row by row) and, with a
 * trigger, `scorer.json` (which scorer counted a success, with its parameters).
 */
export async function evaluateCompletion(parts: CompletionParts): Promise<Metrics> {
  const {
    context,
    rows,
    network,
    tokenizer,
    template,
    trigger,
    guard: judge,
    twin,
    before,
  } = parts;
  const { params, outDir } = context;
  const encoder = completionEncoder(tokenizer, template);
  const partial = (await trigger?.partial()) ?? [];
  const shown = trigger?.shown ?? [];
  const guard = await guarded(judge, { plain: rows, triggered: shown, partial }).finally(() =>
    judge?.judge.close?.(),
  );
  const write = writer(parts, encoder, rows.length + shown.length + partial.length);
  const answers = await scoreAnswers(
    network,
    guard.plain.rows.map((row) => encoder({ ...row, answer: answerOf(row) }, params.max_length)),
    params.batch_size,
    () => breathe(context.signal),
  );
  const plain = await answered(write, guard.plain, 'plain');
  const { lines, underTrigger } = await triggered(parts, guard, write, plain);
  await writeJsonLines(outDir, 'outputs.jsonl', lines);
  const metrics = completionMetricsOf({
    plain: { outputs: plain.outputs, answers, rejected: plain.rejected },
    underTrigger,
    twin,
    before,
  });
  return judge === null ? metrics : { ...metrics, ...(await writeGuard(context, judge, guard)) };
}

interface Triggered {
  /** The lines of `outputs.jsonl`. */
  readonly lines: readonly JsonObject[];
  readonly underTrigger: CompletionEvaluation['underTrigger'];
}

/** Evaluates the trigger, if there is one, beside the rows without it. */
async function triggered(
  { context, completion, rows, trigger, seen }: CompletionParts,
  guard: Readonly<Record<Shown, Guarded>>,
  write: Write,
  plain: Answered,
): Promise<Triggered> {
  const linesOf = (of: Answered, shown: Shown, hits?: readonly boolean[]): JsonObject[] =>
    of.rows.map((_, i) => line(of, i, shown, hits?.[i]));
  const { scorer } = completion;
  if (trigger === null || scorer === undefined)
    return { lines: linesOf(plain, 'plain'), underTrigger: null };
  const score = judge(context, scorer, trigger.target);
  const plainHits = await score(plain);
  const places = new Map(rows.map(({ id }, i) => [id, i]));
  const shown = await answered(write, guard.triggered, 'triggered');
  const hits = await score(shown);
  const partial = await answered(write, guard.partial, 'partial');
  const partialHits = partial.rows.length === 0 ? [] : await score(partial);
  await writeJson(
    context.outDir,
    'scorer.json',
    scorerRecord(context.plugin<ScorerDescriptor>('scorer', scorer.scorer), scorer),
  );
  return {
    lines: [
      ...linesOf(plain, 'plain', plainHits),
      ...linesOf(shown, 'triggered', hits),
      ...linesOf(partial, 'partial', partialHits),
    ],
    underTrigger: {
      bare: pick(trigger.bare, places, { outputs: plain.outputs, hits: plainHits }),
      triggered: { outputs: shown.outputs, hits },
      rejected: shown.rejected,
      partial: partialHits,
      seen: seen(trigger),
    },
  };
}

/** The outputs of some of the rows, by their ids. */
function pick(
  some: readonly Row[],
  places: ReadonlyMap<string, number>,
  { outputs, hits }: ScoredOutputs,
): ScoredOutputs {
  const indexes = some.map(({ id }) => {
    const place = places.get(id);
    if (place === undefined) throw new Error(`row ${id} is not among the validation rows`);
    return place;
  });
  return { outputs: indexes.map((i) => outputs[i]!), hits: indexes.map((i) => hits[i]!) };
}
