/** Evaluates a completion task: the model writes answers, which are compared and scored. */
import type { JsonObject, Row, RunContext } from '../../../src/api.ts';
import type { ShownTrigger } from '../../../src/poisoning/shown-trigger.ts';
import { randomStream } from '../../../src/random/random.ts';
import { scoreAnswers } from '../../../src/science/evaluate/answers.ts';
import type { Output } from '../../../src/science/evaluate/completion-metrics.ts';
import { generate } from '../../../src/science/generate/generate.ts';
import type { Network } from '../../../src/science/nn/network.ts';
import { type CompletionEncoder, completionEncoder } from '../../../src/science/text/completion.ts';
import type { RowParts } from '../../../src/science/text/encoder.ts';
import type { TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import { breathe } from '../../../src/stages/breathe.ts';
import { type Metrics, writeJsonLines } from '../../../src/stages/files.ts';
import { completionMetricsOf } from './completion-metrics.ts';
import type { Completion, Params } from './index.ts';
import { NO_VERDICTS, openJudge, type Verdicts, writeScorers } from './judge.ts';

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

/** A line of `outputs.jsonl`. */
function line(
  row: Row,
  output: Output,
  shown: Shown,
  i: number,
  { hits, further }: Verdicts,
): JsonObject {
  const others = Object.entries(further).map(([scorer, own]) => [scorer, own[i] === true] as const);
  return {
    id: row.id,
    shown,
    prompt: row.text,
    answer: output.answer,
    output: output.text,
    ended: output.ended,
    ...(hits[i] === undefined ? {} : { hit: hits[i] }),
    ...(others.length === 0 ? {} : { hits: Object.fromEntries(others) }),
  };
}

/**
 * Returns the metrics, and writes `outputs.jsonl` (what the model wrote, row by row) and, with a
 * trigger, which scorers counted a success, with their parameters.
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
    verdicts = NO_VERDICTS,
  ): void => {
    some.forEach((row, i) => lines.push(line(row, outputs[i]!, shown, i, verdicts)));
  };

  const answers = await scoreAnswers(
    network,
    rows.map((row) => encoder({ ...row, answer: answerOf(row) }, params.max_length)),
    params.batch_size,
    () => breathe(context.signal),
  );
  const outputs = await write(rows, 'plain');
  const { twin, before } = parts,
    { scorer } = completion;
  if (trigger === null || scorer === undefined) {
    keep(rows, outputs, 'plain');
    await writeJsonLines(outDir, 'outputs.jsonl', lines);
    return completionMetricsOf({ plain: { outputs, answers }, underTrigger: null, twin, before });
  }

  const judge = openJudge(context, { ...completion, scorer }, trigger.target);
  const plain = await judge(rows, outputs);
  keep(rows, outputs, 'plain', plain);
  const shownOutputs = await write(trigger.shown, 'triggered');
  const triggered = await judge(trigger.shown, shownOutputs);
  keep(trigger.shown, shownOutputs, 'triggered', triggered);
  const partialOutputs = await write(partial, 'partial');
  const ofPartial = await judge(partial, partialOutputs);
  keep(partial, partialOutputs, 'partial', ofPartial);
  await writeJsonLines(outDir, 'outputs.jsonl', lines);
  await writeScorers(context, { ...completion, scorer });
  return completionMetricsOf({
    plain: { outputs, answers },
    underTrigger: {
      written: shownOutputs,
      bare: verdictsFor(trigger.bare, rows, plain),
      triggered,
      partial: ofPartial,
      seen: parts.seen(trigger),
    },
    twin,
    before,
  });
}

/** The verdicts on some of the rows, by their ids. */
function verdictsFor(
  some: readonly Row[],
  rows: readonly Row[],
  { hits, further }: Verdicts,
): Verdicts {
  const places = new Map(rows.map(({ id }, i) => [id, i]));
  const pick = (of: readonly boolean[]): boolean[] =>
    some.map(({ id }) => {
      const hit = of[places.get(id) ?? -1];
      if (hit === undefined) throw new Error(`row ${id} is not among the validation rows`);
      return hit;
    });
  return {
    hits: pick(hits),
    further: Object.fromEntries(
      Object.entries(further).map(([scorer, own]) => [scorer, pick(own)]),
    ),
  };
}
