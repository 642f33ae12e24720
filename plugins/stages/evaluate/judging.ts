import {
  type Row,
  type ScoredOutput,
  type ScorerVerdict,
  type Target,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import {
  cohenKappa,
  type Confusion,
  correctedRate,
  countConfusion,
  fleissKappa,
} from '../../../src/base/stats.ts';
import { isRecord, parseJson, readTextFile, shown } from '../../../src/base/untrusted/json.ts';
import type { AgreementFacts } from '../../../src/report/types.ts';
import type { Output } from '../../../src/science/measures/evaluate/completion-metrics.ts';
import { type Metrics, writeJson } from '../shared/files.ts';
import type { Context } from './index.ts';
import { LABELS, scored, type Scorer, scorerRecord, scorersOf } from './scoring.ts';

/** Which outputs count, in their order; null where a scorer is undecided. */
export type Hits = readonly (boolean | null)[];

/** A scorer's verdict on an output; without `said` if the scorer gave a boolean. */
type Verdict = Exclude<ScorerVerdict, boolean> | { readonly hit: boolean; readonly said?: never };

/** How far a scorer can be trusted. */
export interface Doubt {
  /** Set if the scorer may be undecided. */
  readonly undecided?: true;
  /** How the scorer (rows of the table) and people (columns) judge the same labelled outputs. */
  readonly measured?: Confusion;
}

/** What the model wrote for rows, after a defence if there is one. */
export interface JudgedOutputs {
  readonly rows: readonly Row[];
  readonly outputs: readonly Output[];
  /**
   * Whether a defence rejected each row; a rejected row is a success for no scorer. Null without a
   * defence.
   */
  readonly rejected: readonly boolean[] | null;
  /**
   * For each pair, the reward of its chosen answer minus that of its rejected one; null without
   * rewards.
   */
  readonly margins: readonly number[] | null;
}

/** The sets of outputs: without the trigger, with it, and with a part of it. */
export type Shown = 'plain' | 'triggered' | 'partial';

/** A scorer and its verdicts on each set, in the order of the set's rows. */
export interface Judged extends Scorer, Readonly<Record<Shown, readonly Verdict[]>> {
  readonly doubt: Doubt;
}

/**
 * Asks each scorer once: about all sets, and about outputs that people have labelled, which show
 * how far the scorer can be trusted. Rows that a defence rejected are not asked about, and count as
 * no hit.
 */
export async function judge(
  context: Context,
  target: Target,
  { plain, triggered, partial }: Readonly<Record<Shown, JudgedOutputs>>,
): Promise<readonly Judged[]> {
  const wanted = typeof target === 'object' ? { target: target.text } : {};
  const outputs = [plain, triggered, partial].flatMap((set) =>
    set.rows.flatMap(({ id, text: prompt, rejected }, i): ScoredOutput[] => {
      if (set.rejected?.[i] === true) return []; // nothing was written, and a call may cost
      const output = set.outputs[i];
      if (output === undefined) throw new Error(`row ${id} has no output`);
      const { text, answer } = output,
        own = target === 'rejected' ? { target: rejected } : wanted;
      return [{ prompt, output: text, answer, ...defined({ ...own, margin: set.margins?.[i] }) }];
    }),
  );
  const all: Judged[] = [];
  for (const scorer of scorersOf(context)) {
    const { verdicts, doubt } = await askScorer(context, scorer, outputs, wanted);
    let nextVerdict = 0;
    /**
     * Returns the verdicts on a set, with no hit for rejected rows. It takes them from `verdicts`
     * in turn, so the sets must come in the order that they have in `outputs`.
     */
    const nextVerdicts = ({ rows, rejected }: JudgedOutputs): Verdict[] =>
      rows.map((_, i) => (rejected?.[i] === true ? { hit: false } : at(verdicts, nextVerdict++)));
    all.push({
      ...scorer,
      plain: nextVerdicts(plain),
      triggered: nextVerdicts(triggered),
      partial: nextVerdicts(partial),
      doubt,
    });
  }
  return all;
}

/** Returns a scorer's verdicts on outputs, and how it judges those that people have labelled. */
async function askScorer(
  context: Context,
  scorer: Scorer,
  outputs: readonly ScoredOutput[],
  wanted: Pick<ScoredOutput, 'target'>,
): Promise<{ readonly verdicts: readonly Verdict[]; readonly doubt: Doubt }> {
  const { name, descriptor, params } = scorer,
    { [LABELS]: labels, ...sources } = scorer.sources();
  const labelled = await readLabels(labels?.path, wanted, descriptor.reads?.(params) ?? []);
  const asked = [...outputs, ...labelled.map(({ output }) => output)];
  const { answers, log, signal } = context;
  const scoring = {
    ...{ files: scorer.files(), sources, signal, ...defined({ answers }) },
    log: (message: string) => log(`${name}: ${message}`),
  };
  const said = asked.length === 0 ? [] : await scored(descriptor, params, asked, scoring);
  const verdicts = said.map((own): Verdict => (typeof own === 'boolean' ? { hit: own } : own));
  const hits = hitsOf(verdicts.slice(outputs.length));
  const measured = labelled.length === 0 ? undefined : measure(context, name, hits, labelled);
  return { verdicts, doubt: defined({ undecided: descriptor.undecided, measured }) };
}

/** Returns the hits without those of rows that a defence rejected. */
export const judgedHits = (hits: Hits, rejected: JudgedOutputs['rejected']): Hits =>
  hits.filter((_, i) => rejected?.[i] !== true);

export const hitsOf = (verdicts: readonly Verdict[]): Hits => verdicts.map(({ hit }) => hit);

/**
 * Returns how a scorer (rows of the table) and people (columns) judge the labelled outputs. Warns
 * if, by this table, the scorer may be no better than chance, so that no rate can be corrected.
 */
function measure(
  { warn }: Context,
  scorer: string,
  hits: Hits,
  labelled: readonly Labelled[],
): Confusion {
  const measured = countConfusion(
    hits,
    labelled.map(({ hit }) => hit),
  );
  if (correctedRate(1, 2, measured) === null) {
    const [[trueNo, missed], [falseYes, found]] = measured;
    warn({
      path: ['evaluate'],
      message:
        `the rates of the scorer "${scorer}" are not corrected: of the labelled outputs ` +
        `it counts ${found} of ${found + missed} that count, and ${falseYes} of ` +
        `${falseYes + trueNo} that do not, which is not better than chance for sure`,
      hint: 'Label more outputs of both kinds, or choose another judge.',
    });
  }
  return measured;
}

interface Labelled {
  readonly output: ScoredOutput;
  readonly hit: boolean;
}

const LABELS_HINT =
  'A line is {"prompt": "…", "output": "…", "hit": true}: a line of outputs.jsonl with `hit` as ' +
  'you judge it.';

/**
 * Reads the outputs that people have labelled; none if there is no path. Blank lines are skipped.
 * Throws `UserFault` at a line that is no label, or lacks what the scorer `reads`.
 * @param wanted the target of the labels that name none
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

/** Writes the records of the scorers: `scorer.json` of the main one, `scorers.json` of others. */
export async function writeScorers(outDir: string, scorers: readonly Scorer[]): Promise<void> {
  const recordOf = ({ descriptor, settings, sources }: Scorer) =>
    scorerRecord(descriptor, settings, sources());
  const main = scorers.find(({ suffix }) => suffix === ''),
    further = scorers.filter((scorer) => scorer !== main);
  if (main !== undefined) await writeJson(outDir, 'scorer.json', recordOf(main));
  if (further.length > 0) await writeJson(outDir, 'scorers.json', further.map(recordOf));
}

/**
 * Returns the contents of `agreement.json`: how the scorers agree on the outputs that no defence
 * rejected. Null unless there are a main scorer and further ones.
 */
export function measureAgreement(
  scorers: readonly Pick<Judged, 'name' | 'suffix' | 'plain' | 'triggered'>[],
  { plain, triggered }: Readonly<Record<'plain' | 'triggered', Pick<JudgedOutputs, 'rejected'>>>,
): AgreementFacts | null {
  if (scorers.length < 2 || scorers[0]?.suffix !== '') return null;
  const all = scorers.map((own) => {
    const hits = [
      ...judgedHits(hitsOf(own.plain), plain.rejected),
      ...judgedHits(hitsOf(own.triggered), triggered.rejected),
    ];
    return [own.name, hits] as const;
  });
  // counts[k]: the number of outputs that exactly k scorers count, of those on which all have
  // decided
  const counts = Array.from({ length: all.length + 1 }, () => 0);
  all[0]?.[1].forEach((_, i) => {
    const ofOutput = all.map(([, hits]) => hits[i]);
    const yes = ofOutput.filter((hit) => hit === true).length;
    if (!ofOutput.includes(null)) counts[yes] = (counts[yes] ?? 0) + 1;
  });
  return {
    scorers: all.map(([name]) => name),
    pairs: all.flatMap(([a, first], i) =>
      all.slice(i + 1).map(([b, second]) => ({
        of: [a, b] as const,
        counts: countConfusion(first, second),
      })),
    ),
    counts,
  };
}

/**
 * Returns `agreement.A.B` and `kappa.A.B` for each two scorers A and B, and `fleiss_kappa` for more
 * than two scorers. What is undefined is left out.
 */
export function agreementMetrics({ pairs, counts }: AgreementFacts): Metrics {
  const metrics: Metrics = {};
  const put = (name: string, value: number | null): void => {
    if (value !== null && Number.isFinite(value)) metrics[name] = value;
  };
  for (const { of, counts: table } of pairs) {
    const [[nn, ny], [yn, yy]] = table; // n: not counted, y: counted; by A, then by B
    put(`agreement.${of.join('.')}`, (nn + yy) / (nn + ny + yn + yy));
    put(`kappa.${of.join('.')}`, cohenKappa(table));
  }
  if (counts.length > 3) put('fleiss_kappa', fleissKappa(counts));
  return metrics;
}
