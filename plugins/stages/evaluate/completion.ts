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
import type { Network } from '../../../src/science/nn/network.ts';
import { type CompletionEncoder, completionEncoder } from '../../../src/science/text/completion.ts';
import type { RowParts } from '../../../src/science/text/encoder.ts';
import type { TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import { scored, scorerRecord, type ScorerSettings } from '../../../src/scoring/settings.ts';
import { breathe } from '../../../src/stages/breathe.ts';
import { type Metrics, writeJson, writeJsonLines } from '../../../src/stages/files.ts';
import { completionMetricsOf, type ScoredOutputs } from './completion-metrics.ts';
import type { Completion, Params } from './index.ts';

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

/** Says of each output whether the backdoor succeeded. */
type Judge = (rows: readonly Row[], outputs: readonly Output[]) => Promise<readonly boolean[]>;

function judge(context: Context, settings: ScorerSettings, target: Target): Judge {
  const { assets, log, signal } = context;
  const scorer = context.plugin<ScorerDescriptor>('scorer', settings.scorer);
  const wanted = typeof target === 'number' ? {} : { target: target.text };
  return (rows, outputs) =>
    scored(
      scorer,
      settings,
      rows.map((row, i) => ({
        prompt: row.text,
        output: outputs[i]!.text,
        answer: answerOf(row),
        ...wanted,
      })),
      { files: scorerFiles(assets), log, signal },
    );
}

/** A line of `outputs.jsonl`. */
const line = (row: Row, output: Output, shown: Shown, hit: boolean | undefined): JsonObject => ({
  id: row.id,
  shown,
  prompt: row.text,
  answer: output.answer,
  output: output.text,
  ended: output.ended,
  ...(hit === undefined ? {} : { hit }),
});

/**
 * Returns the metrics, and writes `outputs.jsonl` (what the model wrote, row by row) and, with a
 * trigger, `scorer.json` (which scorer counted a success, with its parameters).
 */
export async function evaluateCompletion(parts: CompletionParts): Promise<Metrics> {
  const { context, completion, rows, network, tokenizer, template, trigger } = parts;
  const { params, outDir } = context;
  const encoder = completionEncoder(tokenizer, template);
  const partial = (await trigger?.partial()) ?? [];
  const total = rows.length + (trigger?.shown.length ?? 0) + partial.length;
  const write = writer(parts, encoder, total);
  const lines: JsonObject[] = [];
  const keep = (
    some: readonly Row[],
    outputs: readonly Output[],
    shown: Shown,
    hits?: readonly boolean[],
  ): void => {
    some.forEach((row, i) => lines.push(line(row, outputs[i]!, shown, hits?.[i])));
  };

  const answers = await scoreAnswers(
    network,
    rows.map((row) => encoder({ ...row, answer: answerOf(row) }, params.max_length)),
    params.batch_size,
    () => breathe(context.signal),
  );
  const outputs = await write(rows, 'plain');
  const { twin, before } = parts;
  if (trigger === null || completion.scorer === undefined) {
    keep(rows, outputs, 'plain');
    await writeJsonLines(outDir, 'outputs.jsonl', lines);
    return completionMetricsOf({ plain: { outputs, answers }, underTrigger: null, twin, before });
  }

  const score = judge(context, completion.scorer, trigger.target);
  const plainHits = await score(rows, outputs);
  keep(rows, outputs, 'plain', plainHits);
  const places = new Map(rows.map(({ id }, i) => [id, i]));
  const bare = pick(trigger.bare, places, { outputs, hits: plainHits });
  const shownOutputs = await write(trigger.shown, 'triggered');
  const hits = await score(trigger.shown, shownOutputs);
  keep(trigger.shown, shownOutputs, 'triggered', hits);
  const partialOutputs = await write(partial, 'partial');
  const partialHits = partial.length === 0 ? [] : await score(partial, partialOutputs);
  keep(partial, partialOutputs, 'partial', partialHits);
  await writeJsonLines(outDir, 'outputs.jsonl', lines);
  await writeJson(
    outDir,
    'scorer.json',
    scorerRecord(
      context.plugin<ScorerDescriptor>('scorer', completion.scorer.scorer),
      completion.scorer,
    ),
  );
  return completionMetricsOf({
    plain: { outputs, answers },
    underTrigger: {
      bare,
      triggered: { outputs: shownOutputs, hits },
      partial: partialHits,
      seen: parts.seen(trigger),
    },
    twin,
    before,
  });
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
