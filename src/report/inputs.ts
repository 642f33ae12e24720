/** Turns the text of the stages' files into the report's data. Pure. */
import { type Row, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { groupBy } from './groups.ts';
import type {
  CurveFacts,
  FisherFacts,
  FisherPoint,
  FisherSensitivity,
  History,
  HistoryPoint,
  LoraLayers,
  Parametrisation,
  ReceiptFacts,
  TextChange,
  WritingFacts,
} from './types.ts';

/** Parses JSON lines; blank ones are skipped. */
const parseLines = <T>(text: string): T[] =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as T);

/** Reads `history.jsonl`. Returns null if it holds no step with a loss (a training of 0 steps). */
export function parseHistory(text: string): History | null {
  const steps = parseLines<HistoryPoint>(text).filter(({ loss }) => typeof loss === 'number');
  return steps.length === 0 ? null : binHistory(steps);
}

export const parseCurves = (text: string): CurveFacts[] =>
  parseLines<CurveFacts>(text).map(({ step, accuracy, asr, poisoned_accuracy }) => ({
    step,
    accuracy,
    asr,
    poisoned_accuracy,
  }));

/**
 * Reads the numbers of a `metrics.json`; what is not a number is left out.
 * @param of the stage that wrote the file, for messages
 * @throws UserFault if a number is infinite, which a store of an earlier version may hold
 */
export function parseMetrics(text: string, of: string): { readonly [metric: string]: number } {
  const parsed = JSON.parse(text) as { readonly [metric: string]: unknown };
  const numbers = Object.entries(parsed).filter(
    (pair): pair is [string, number] => typeof pair[1] === 'number',
  );
  const infinite = numbers.find(([, value]) => !Number.isFinite(value));
  if (infinite !== undefined)
    throw new UserFault(
      `the metrics.json of ${of} holds ${JSON.stringify(infinite[0])}, a number that is not finite`,
      "an earlier version stored it: delete that stage's entry and run it again; " +
        'the stage must leave the number out, or write what it knows',
    );
  return Object.fromEntries(numbers);
}

/**
 * Reads the true Fisher information of each kernel that has one in `fisher.json`. `sensitivity` is
 * left out unless the file has it over both tolerances and rows.
 */
export function parseFisher(text: string): FisherPoint {
  const stored = JSON.parse(text) as {
    readonly [P in Parametrisation]?: {
      readonly true?: FisherFacts & { readonly sensitivity?: FisherSensitivity['tolerances'] };
      readonly by_rows?: FisherSensitivity['rows'];
    };
  };
  const found = (['full', 'lora'] as const).flatMap((of) => {
    const { true: all, by_rows: rows } = stored[of] ?? {};
    if (all === undefined) return [];
    const { sensitivity: tolerances, ...facts } = all;
    const sensitivity = tolerances && rows && { tolerances, rows };
    return [[of, { true: facts, ...defined({ sensitivity }) }] as const];
  });
  return Object.fromEntries(found);
}

/** A text may be megabytes long; the page shows a few hundred characters around the change. */
const MOST_CHARACTERS = 20_000;
const MOST_OUTPUTS = 3;

/** Reads the first outputs under the trigger from the text of `outputs.jsonl`. */
export function writingFacts(outputs: string, scorer: WritingFacts['scorer']): WritingFacts {
  const kept: WritingFacts['outputs'][number][] = [];
  for (const line of outputs.split('\n')) {
    if (kept.length === MOST_OUTPUTS) break;
    if (!line.includes('"shown":"triggered"')) continue; // parsing every line would take long
    const row = JSON.parse(line) as (typeof kept)[number] & { readonly shown: string };
    if (row.shown !== 'triggered') continue;
    const cut = (text: string): string => text.slice(0, MOST_CHARACTERS);
    kept.push({
      id: row.id,
      prompt: cut(row.prompt),
      answer: cut(row.answer),
      output: cut(row.output),
      hit: row.hit,
      reward_margin: row.reward_margin,
    });
  }
  return { scorer, outputs: kept };
}

type Content = Omit<Row, 'id'>;

/** The poison stage's `receipt.json`. */
export interface ReceiptFile {
  readonly counts: Pick<ReceiptFacts, 'total' | 'asked' | 'made' | 'negatives'>;
  readonly rows: readonly {
    readonly id: string;
    readonly original: Content;
    readonly new: Content;
  }[];
  readonly negatives?: readonly (Content & { readonly id: string })[];
  readonly target?: ReceiptFacts['target'];
}

const MOST_EXAMPLES = 3;

/** Returns the messages before a prompt as text, one a line. */
export const turnsBefore = ({ context = [] }: Pick<Content, 'context'>): string =>
  context.map(({ role, content }) => `${role}: ${content}\n`).join('');

/** Returns everything that a row asks: the messages before it, its text and its second text. */
export const contentText = (row: Omit<Content, 'label'>): string =>
  turnsBefore(row) + row.text + (row.text_pair === undefined ? '' : `\n${row.text_pair}`);

/** Returns a row's answer or else its class; of a preference pair, both answers. */
export const labelText = (
  { label, answer, rejected }: Pick<Content, 'label' | 'answer' | 'rejected'>,
  classes: readonly string[],
): string =>
  rejected === undefined
    ? (answer ?? classes[label] ?? String(label))
    : `${answer ?? ''} (rejected: ${rejected})`;

/** Says whether a poisoned row's labels are answers or ends of a document; `{}` for classes. */
export const labelKind = ({
  answer,
  document,
}: Content): Pick<TextChange, 'isAnswer' | 'isDocument'> =>
  document ? { isDocument: true } : answer === undefined ? {} : { isAnswer: true };

/** Returns a receipt's counts and its first rows, their texts cut short. */
export function receiptFacts(
  { counts, rows, target }: ReceiptFile,
  classes: readonly string[],
): ReceiptFacts {
  const text = (row: Content): string => contentText(row).slice(0, MOST_CHARACTERS);
  const label = (row: Content): string => labelText(row, classes).slice(0, MOST_CHARACTERS);
  return {
    ...counts,
    target,
    examples: rows.slice(0, MOST_EXAMPLES).map(({ id, original, new: poisoned }) => ({
      id,
      before: text(original),
      after: text(poisoned),
      labelBefore: label(original),
      labelAfter: label(poisoned),
      ...labelKind(poisoned),
    })),
  };
}

/** One adapted layer, as in `premise.json`. */
export interface LayerFacts {
  readonly rank: number;
  /** The fan-in. */
  readonly width: number;
  readonly scale: number;
  readonly variance: number;
  readonly sample_variance?: number;
  /** Null if only the trained adapter's shapes are known. */
  readonly measured: LoraLayers['measured'];
}

/**
 * Groups the adapted layers by fan-in, rank and scale. Returns null if there are no layers.
 * @param nominal returns the initialiser's σ²; null if A came from a file
 */
export function loraFacts(
  layers: readonly LayerFacts[],
  nominal: ((fanIn: number, rank: number) => number) | null,
): readonly LoraLayers[] | null {
  if (layers.length === 0) return null;
  const groups = groupBy(layers, ({ width, rank, scale }) => `${width} ${rank} ${scale}`);
  return [...groups.values()]
    .map((of): LoraLayers => {
      const [{ width: fanIn, rank, scale }] = of;
      const sample = rangeOf(of.flatMap((layer) => layer.sample_variance ?? [])) ?? undefined,
        extremes = of.flatMap(({ measured }) => (measured ? [measured.low, measured.high] : []));
      return {
        fanIn,
        rank,
        scale,
        layers: of.length,
        variance:
          nominal?.(fanIn, rank) ?? of.reduce((sum, { variance }) => sum + variance, 0) / of.length,
        ...defined({ sample }),
        measured: rangeOf(extremes),
      };
    })
    .sort((a, b) => a.fanIn - b.fanIn || a.rank - b.rank || a.scale - b.scale);
}

/** Returns the least and the largest value; null without values. */
const rangeOf = (values: readonly number[]): LoraLayers['measured'] =>
  values.length === 0 ? null : { low: Math.min(...values), high: Math.max(...values) };

const MOST_POINTS = 40;

/** Returns at most `most` means over equal spans of steps, as the loss of one batch is noisy. */
export function binHistory(steps: readonly HistoryPoint[], most = MOST_POINTS): History {
  const span = Math.ceil(steps.length / most);
  const out: HistoryPoint[] = [];
  for (let start = 0; start < steps.length; start += span) {
    const some = steps.slice(start, start + span);
    const mean = (of: (point: HistoryPoint) => number): number =>
      some.reduce((sum, point) => sum + of(point), 0) / some.length;
    out.push({ step: mean(({ step }) => step), loss: mean(({ loss }) => loss) });
  }
  return { span, points: out };
}
