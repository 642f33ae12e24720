/** Has the scorers judge what a model wrote, and what people have labelled, in one call each. */
import {
  type Row,
  type ScoredOutput,
  type ScorerDescriptor,
  type ScorerVerdict,
  type Target,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import {
  cohenKappa,
  type Confusion,
  confusionOf,
  correctedRate,
  fleissKappa,
} from '../../../src/base/stats.ts';
import { isRecord, parseJson, readTextFile, shown } from '../../../src/base/untrusted/json.ts';
import type { AgreementFacts } from '../../../src/report/types.ts';
import type { Output } from '../../../src/science/measures/evaluate/completion-metrics.ts';
import { type Metrics, writeJson } from '../shared/files.ts';
import { scorerFiles, scorerSources } from '../shared/program-files.ts';
import type { Completion, Context } from './index.ts';
import {
  LABELS,
  nameOf,
  scored,
  scorerLimits,
  scorerRecord,
  type ScorerSettings,
} from './scoring.ts';

/** Which outputs count, in their order; null where a scorer is undecided. */
export type Hits = readonly (boolean | null)[];

/** What the scorers say of a set of outputs. */
export interface Verdicts {
  /** By `evaluate.scorer`; empty without it. */
  readonly hits: Hits;
  /** By each of `evaluate.scorers`, by name. */
  readonly further: { readonly [scorer: string]: Hits };
  /** The scorers' own words on each output, by name, of those that have any. */
  readonly said?: { readonly [scorer: string]: readonly (string | undefined)[] };
}

export const NO_VERDICTS: Verdicts = { hits: [], further: {} };

/** How far a scorer can be trusted. */
export interface Doubt {
  /** Set if it may be undecided. */
  readonly undecided?: true;
  /** Its verdicts on labelled outputs, by row, against people's, by column. */
  readonly measured?: Confusion;
}

/** Outputs as a defence let them. */
export interface JudgedOutputs {
  readonly rows: readonly Row[];
  readonly outputs: readonly Output[];
  /**
   * The rows that a defence rejected, which are a success for no scorer. Null without a defence.
   */
  readonly rejected: readonly boolean[] | null;
  /** As `Rewards.margins`; null where there are no rewards. */
  readonly margins: readonly number[] | null;
}

export interface Judged {
  /** In the order of the sets. */
  readonly sets: readonly Verdicts[];
  /** By scorer; that of `evaluate.scorer` is named ''. */
  readonly doubts: { readonly [scorer: string]: Doubt };
}

/**
 * Asks each scorer about all sets of outputs and its labelled ones at once, except for what a
 * defence rejected.
 */
export async function judge(
  context: Context,
  { scorer, scorers = [] }: Completion,
  target: Target,
  sets: readonly JudgedOutputs[],
): Promise<Judged> {
  const wanted = typeof target === 'object' ? { target: target.text } : {};
  const outputs = sets.flatMap((set) =>
    set.rows.flatMap(({ id, text: prompt, rejected }, i): ScoredOutput[] => {
      if (set.rejected?.[i] === true) return []; // the model was not asked, and a call costs
      const output = set.outputs[i];
      if (output === undefined) throw new Error(`row ${id} has no output`);
      const { text, answer } = output,
        own = target === 'rejected' ? { target: rejected } : wanted;
      return [{ prompt, output: text, answer, ...defined({ ...own, margin: set.margins?.[i] }) }];
    }),
  );
  const doubts: { [scorer: string]: Doubt } = {};
  /** What one scorer says of each set. */
  const ask = async (settings: ScorerSettings, further: string | null) => {
    const { descriptor, sources, scoring } = opened(context, settings, further);
    const params = { ...settings, ...scorerLimits(context, settings) };
    const reads = descriptor.reads?.(params) ?? [];
    const labelled = await readLabels(sources[LABELS]?.path, wanted, reads);
    const asked = [...outputs, ...labelled.map(({ output }) => output)];
    const verdicts = asked.length === 0 ? [] : await scored(descriptor, params, asked, scoring);
    doubts[further ?? ''] = {
      ...(descriptor.undecided === true ? { undecided: true } : {}),
      ...(labelled.length === 0
        ? {}
        : { measured: measuredBy(context, settings, verdicts.slice(outputs.length), labelled) }),
    };
    let next = 0;
    return sets.map(({ rows, rejected }) => {
      const own = rows.map((_, i) => rejected?.[i] !== true && at(verdicts, next++));
      return {
        hits: own.map(hitOf),
        said: own.map((verdict) => (typeof verdict === 'boolean' ? undefined : verdict.said)),
      };
    });
  };
  const main = scorer && (await ask(scorer, null));
  const others: [string, Awaited<ReturnType<typeof ask>>][] = [];
  for (const settings of scorers)
    others.push([nameOf(settings), await ask(settings, nameOf(settings))]);
  const all = [...(scorer && main ? [[nameOf(scorer), main] as const] : []), ...others];
  return {
    sets: sets.map((_, s) => ({
      hits: main?.[s]?.hits ?? [],
      further: Object.fromEntries(others.map(([name, own]) => [name, own[s]?.hits ?? []])),
      said: Object.fromEntries(
        all.flatMap(([name, own]) => {
          const said = own[s]?.said ?? [];
          return said.some((words) => words !== undefined) ? [[name, said]] : [];
        }),
      ),
    })),
    doubts,
  };
}

/** Returns the verdicts without those of rows that a defence rejected. */
export const judgedHits = (hits: Hits, rejected: JudgedOutputs['rejected']): Hits =>
  hits.filter((_, i) => rejected?.[i] !== true);

const hitOf = (verdict: ScorerVerdict): boolean | null =>
  typeof verdict === 'boolean' ? verdict : verdict.hit;

/** Returns how a scorer judges what people have labelled. Warns where that corrects no rate. */
function measuredBy(
  { warn }: Context,
  settings: ScorerSettings,
  verdicts: readonly ScorerVerdict[],
  labelled: readonly Labelled[],
): Confusion {
  const measured = confusionOf(
    verdicts.map(hitOf),
    labelled.map(({ hit }) => hit),
  );
  if (correctedRate(1, 2, measured) === null) {
    const [[trueNo, missed], [falseYes, found]] = measured;
    warn({
      path: ['evaluate'],
      message:
        `the rates of the scorer "${nameOf(settings)}" are not corrected: of the labelled outputs ` +
        `it counts ${found} of ${found + missed} that count, and ${falseYes} of ` +
        `${falseYes + trueNo} that do not, which is not better than chance for sure`,
      hint: 'Label more outputs of both kinds, or choose another judge.',
    });
  }
  return measured;
}

/** @param further the scorer's name, where it is one of `evaluate.scorers` */
function opened(context: Context, settings: ScorerSettings, further: string | null) {
  const { assets, answers, log, signal } = context;
  const sources = scorerSources(assets, further),
    { [LABELS]: _labels, ...own } = sources;
  const name = nameOf(settings);
  return {
    descriptor: context.plugin<ScorerDescriptor>('scorer', settings.scorer),
    sources,
    scoring: {
      files: scorerFiles(assets, further),
      sources: own,
      log: (message: string) => log(`${name}: ${message}`),
      signal,
      ...defined({ answers }),
    },
  };
}

/** An output, and whether people say that it counts. */
interface Labelled {
  readonly output: ScoredOutput;
  readonly hit: boolean;
}

const LABELS_HINT =
  'A line is {"prompt": "…", "output": "…", "hit": true}: a line of outputs.jsonl with `hit` as ' +
  'you judge it.';

/**
 * Throws `UserFault` at the line that is no label, or lacks what its scorer reads.
 * @param wanted the target of labels that name none
 * @param reads `ScorerDescriptor.reads`
 */
export async function readLabels(
  path: string | undefined,
  wanted: Pick<ScoredOutput, 'target'>,
  reads: readonly ('answer' | 'target')[],
): Promise<readonly Labelled[]> {
  if (path === undefined) return [];
  const lines = (await readTextFile(path)).split('\n');
  return lines.flatMap((line, i): Labelled[] => {
    if (line.trim() === '') return [];
    const place = `${path}:${i + 1}`,
      value = parseJson(line, place);
    const { prompt, output, hit, ...more } = isRecord(value) ? value : {};
    const { answer = '', target = wanted.target } = more;
    const areTexts = typeof answer === 'string' && ['string', 'undefined'].includes(typeof target);
    if (typeof prompt !== 'string' || typeof output !== 'string' || !areTexts)
      throw new UserFault(
        `${place} has no \`prompt\` and \`output\` that are texts: ${shown(value)}`,
        `${LABELS_HINT} A row's id would not do: each model writes another output for it.`,
      );
    if (typeof hit !== 'boolean')
      throw new UserFault(
        `${place} has no \`hit\` that is true or false: ${shown(hit)}`,
        LABELS_HINT,
      );
    const missing = reads.find((name) => (name === 'answer' ? more[name] : target) === undefined);
    if (missing !== undefined)
      throw new UserFault(
        `${place} has no \`${missing}\`, which the scorer reads`,
        `Add it to each line: {"prompt": "…", "output": "…", "${missing}": "…", "hit": true}.`,
      );
    return [{ output: { prompt, output, answer, ...defined({ target: target as string }) }, hit }];
  });
}

/** Writes the scorers with their parameters. */
export async function writeScorers(
  context: Context,
  { scorer, scorers }: Completion,
): Promise<void> {
  const record = (settings: ScorerSettings, further: string | null) => {
    const { descriptor, sources } = opened(context, settings, further);
    return scorerRecord(descriptor, settings, sources);
  };
  if (scorer !== undefined) await writeJson(context.outDir, 'scorer.json', record(scorer, null));
  if (scorers !== undefined)
    await writeJson(
      context.outDir,
      'scorers.json',
      scorers.map((settings) => record(settings, nameOf(settings))),
    );
}

/**
 * Returns what `agreement.json` says; null of fewer than two scorers. What a defence rejected, no
 * scorer has judged.
 * @param sets the outputs with the trigger and without it, and the verdicts on them
 */
export function agreementOf(
  scorer: string,
  sets: readonly (Pick<JudgedOutputs, 'rejected'> & { readonly verdicts: Verdicts })[],
): AgreementFacts | null {
  const further = Object.keys(sets[0]?.verdicts.further ?? {});
  if (further.length === 0) return null;
  const hitsOf = (own: (verdicts: Verdicts) => Hits): Hits =>
    sets.flatMap(({ verdicts, rejected }) => judgedHits(own(verdicts), rejected));
  const all = [
    [scorer, hitsOf(({ hits }) => hits)] as const,
    ...further.map((name) => [name, hitsOf((own) => own.further[name] ?? [])] as const),
  ];
  const counts = all.concat([all[0]!]).map(() => 0);
  all[0]?.[1].forEach((_, i) => {
    const own = all.map(([, hits]) => hits[i]);
    const yes = own.filter((hit) => hit === true).length;
    if (!own.includes(null)) counts[yes] = (counts[yes] ?? 0) + 1;
  });
  return {
    scorers: all.map(([name]) => name),
    pairs: all.flatMap(([a, first], i) =>
      all.slice(i + 1).map(([b, second]) => ({
        of: [a, b] as const,
        counts: confusionOf(first, second),
      })),
    ),
    counts,
  };
}

/** Returns `agreement.A.B`, `kappa.A.B` and `fleiss_kappa`, where they are defined. */
export function agreementMetrics({ pairs, counts }: AgreementFacts): Metrics {
  const metrics: Metrics = {};
  const put = (name: string, value: number | null): void => {
    if (value !== null && Number.isFinite(value)) metrics[name] = value;
  };
  for (const { of, counts: own } of pairs) {
    const [[nn, ny], [yn, yy]] = own;
    put(`agreement.${of.join('.')}`, (nn + yy) / (nn + ny + yn + yy));
    put(`kappa.${of.join('.')}`, cohenKappa(own));
  }
  if (counts.length > 3) put('fleiss_kappa', fleissKappa(counts));
  return metrics;
}
