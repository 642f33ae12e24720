/** Asks the scorers of a completion task which outputs are successes of the backdoor. */
import type { Row, RunContext, ScorerDescriptor, Target } from '../../../src/api.ts';
import type { Output } from '../../../src/science/measures/evaluate/completion-metrics.ts';
import { writeJson } from '../shared/files.ts';
import { scorerFiles } from '../shared/program-files.ts';
import type { Completion, Params } from './index.ts';
import { scored, scorerRecord, type ScorerSettings } from './scoring.ts';

type Context = RunContext<Params>;

/** Which outputs count, in their order. */
export interface Verdicts {
  /** By `evaluate.scorer`. */
  readonly hits: readonly boolean[];
  /** By each of `evaluate.scorers`. */
  readonly further: { readonly [scorer: string]: readonly boolean[] };
}

export const NO_VERDICTS: Verdicts = { hits: [], further: {} };

/** Returns what a function makes of the hits of each scorer. */
export const mapVerdicts = (
  { hits, further }: Verdicts,
  of: (hits: readonly boolean[]) => readonly boolean[],
): Verdicts => ({
  hits: of(hits),
  further: Object.fromEntries(Object.entries(further).map(([scorer, own]) => [scorer, of(own)])),
});

/** Judges what the model wrote for rows. */
export type Judge = (rows: readonly Row[], outputs: readonly Output[]) => Promise<Verdicts>;

/** Opens the scorers of a stage that has one. */
export function openJudge(
  context: Context,
  { scorer, scorers = [] }: Completion & { readonly scorer: ScorerSettings },
  target: Target,
): Judge {
  const main = ask(context, scorer, null, target);
  const others = scorers.map(
    (settings) => [settings.scorer, ask(context, settings, settings.scorer, target)] as const,
  );
  return async (rows, outputs) => {
    if (rows.length === 0) return NO_VERDICTS;
    const hits = await main(rows, outputs);
    const further: [string, readonly boolean[]][] = [];
    for (const [name, score] of others) further.push([name, await score(rows, outputs)]);
    return { hits, further: Object.fromEntries(further) };
  };
}

/** @param further the scorer's name, where it is one of `evaluate.scorers` */
function ask(
  context: Context,
  settings: ScorerSettings,
  further: string | null,
  target: Target,
): (rows: readonly Row[], outputs: readonly Output[]) => Promise<readonly boolean[]> {
  const { assets, log, signal } = context;
  const scorer = context.plugin<ScorerDescriptor>('scorer', settings.scorer);
  const wanted = typeof target === 'number' ? {} : { target: target.text };
  return (rows, outputs) =>
    scored(
      scorer,
      settings,
      rows.map(({ id, text: prompt }, i) => {
        const output = outputs[i];
        if (output === undefined) throw new Error(`row ${id} has no output`);
        return { prompt, output: output.text, answer: output.answer, ...wanted };
      }),
      { files: scorerFiles(assets, further), log, signal },
    );
}

/** Writes `scorer.json` and, with further scorers, `scorers.json`: what each counts by. */
export async function writeScorers(
  context: Context,
  { scorer, scorers }: Completion & { readonly scorer: ScorerSettings },
): Promise<void> {
  const record = (settings: ScorerSettings) =>
    scorerRecord(context.plugin<ScorerDescriptor>('scorer', settings.scorer), settings);
  await writeJson(context.outDir, 'scorer.json', record(scorer));
  if (scorers !== undefined) await writeJson(context.outDir, 'scorers.json', scorers.map(record));
}
