/** Turns the text of the stages' files into the report's data. Pure. */
import { UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import type {
  CurveFacts,
  FisherFacts,
  FisherPoint,
  FisherSensitivity,
  History,
  HistoryPoint,
  LoraLayers,
  ReceiptFacts,
  TextChange,
  WritingFacts,
} from './types.ts';

/** Reads `history.jsonl`. Returns null if it holds no step (a training of 0 steps). */
export function parseHistory(text: string): History | null {
  const steps: HistoryPoint[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const { step, loss } = JSON.parse(line) as { readonly step?: unknown; readonly loss?: unknown };
    if (typeof step === 'number' && typeof loss === 'number') steps.push({ step, loss });
  }
  return steps.length === 0 ? null : binHistory(steps);
}

/** Reads `curves.jsonl`. */
export function parseCurves(text: string): CurveFacts[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const { step, accuracy, asr, poisoned_accuracy: learnt } = JSON.parse(line) as CurveFacts;
      return {
        step,
        accuracy,
        ...defined({ asr, poisoned_accuracy: learnt }),
      };
    });
}

/**
 * Reads the numbers of `metrics.json`.
 * @param of the name of the stage that wrote it, for messages
 * @throws UserFault if a number is infinite; a run refuses to store such a file, but a store of an
 *   earlier version may hold one
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

/** Reads `fisher.json`, without the parts that the report does not show. */
export function parseFisher(text: string): FisherPoint {
  interface Stored extends FisherFacts {
    readonly sensitivity?: FisherSensitivity['tolerances'];
  }
  const point = JSON.parse(text) as {
    readonly [P in 'lora' | 'full']?: {
      readonly true?: Stored;
      readonly by_rows?: FisherSensitivity['rows'];
    };
  };
  const kept = (facts: FisherFacts): FisherFacts => ({
    spectrum: facts.spectrum,
    count: facts.count,
    tolerance: facts.tolerance,
    information_bits: facts.information_bits,
    information_bits_normalised: facts.information_bits_normalised,
    renyi: { raw: facts.renyi.raw, normalised: facts.renyi.normalised },
  });
  return Object.fromEntries(
    (['full', 'lora'] as const).flatMap((of) => {
      const facts = point[of]?.true,
        rows = point[of]?.by_rows;
      if (facts === undefined) return [];
      return [
        [
          of,
          {
            true: kept(facts),
            ...defined({
              sensitivity: facts.sensitivity && rows && { tolerances: facts.sensitivity, rows },
            }),
          },
        ],
      ];
    }),
  );
}

/** A text may be megabytes long; the page shows a few hundred characters around the change. */
const MOST_CHARACTERS = 20_000;
const MOST_OUTPUTS = 3;

/** Reads the first outputs under the trigger from the text of `outputs.jsonl`. */
export function writingFacts(outputs: string, scorer: WritingFacts['scorer']): WritingFacts {
  const kept: WritingFacts['outputs'][number][] = [];
  for (const line of outputs.split('\n')) {
    if (kept.length === MOST_OUTPUTS) break;
    if (!line.includes('"shown":"triggered"')) continue;
    const row = JSON.parse(line) as (typeof kept)[number] & { readonly shown: string };
    if (row.shown !== 'triggered') continue;
    const cut = (text: string): string => text.slice(0, MOST_CHARACTERS);
    kept.push({
      id: row.id,
      prompt: cut(row.prompt),
      answer: cut(row.answer),
      output: cut(row.output),
      hit: row.hit,
      ...defined({ reward_margin: row.reward_margin }),
    });
  }
  return { scorer, outputs: kept };
}

/** A row of a data set, or of a receipt. */
export interface Content {
  readonly text: string;
  readonly text_pair?: string;
  readonly label: number;
  /** In a completion task, the answer. */
  readonly answer?: string;
  /** Whether the text is a document, which the answer ends. */
  readonly document?: true;
  /** The answer that a preference pair rejects. */
  readonly rejected?: string;
  /** The messages of a chat before the prompt. */
  readonly context?: readonly { readonly role: string; readonly content: string }[];
}

/** The poison stage's `receipt.json`. */
export interface ReceiptFile {
  readonly counts: {
    readonly total: number;
    readonly asked: number;
    readonly made: number;
    readonly negatives: number;
  };
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

/** Returns everything that a row asks, as one text. */
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

/** Returns what the labels of a poisoned row are, where they are no classes. */
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
    total: counts.total,
    asked: counts.asked,
    made: counts.made,
    negatives: counts.negatives,
    ...(target && { target }),
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

/**
 * One adapted layer, from `premise.json` or, if there is none, from the trained adapter's shapes,
 * with `measured` null.
 */
export interface LayerFacts {
  readonly rank: number;
  readonly width: number;
  readonly scale: number;
  readonly variance: number;
  readonly sample_variance?: number;
  readonly measured: { readonly low: number; readonly high: number } | null;
}

/**
 * Returns the adapted layers by fan-in, rank and scale, or null if there are none.
 * @param nominal the initialiser's σ² for a fan-in and rank; null if A came from a file
 */
export function loraFacts(
  layers: readonly LayerFacts[],
  nominal: ((fanIn: number, rank: number) => number) | null,
): readonly LoraLayers[] | null {
  if (layers.length === 0) return null;
  const groups = new Map<string, LayerFacts[]>();
  for (const layer of layers) {
    const key = `${layer.width} ${layer.rank} ${layer.scale}`;
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  return [...groups.values()]
    .map((of): LoraLayers => {
      const [{ width: fanIn, rank, scale }] = of as [LayerFacts];
      const measured = of.flatMap((layer) => (layer.measured === null ? [] : [layer.measured])),
        samples = of.flatMap(({ sample_variance: sample }) => sample ?? []);
      return {
        fanIn,
        rank,
        scale,
        layers: of.length,
        variance:
          nominal?.(fanIn, rank) ?? of.reduce((sum, { variance }) => sum + variance, 0) / of.length,
        ...(samples.length === 0
          ? {}
          : { sample: { low: Math.min(...samples), high: Math.max(...samples) } }),
        measured:
          measured.length === 0
            ? null
            : {
                low: Math.min(...measured.map(({ low }) => low)),
                high: Math.max(...measured.map(({ high }) => high)),
              },
      };
    })
    .sort((a, b) => a.fanIn - b.fanIn || a.rank - b.rank || a.scale - b.scale);
}

const MOST_POINTS = 40;

/** Returns at most `most` means over equal spans of steps, as the loss of one batch is noisy. */
export function binHistory(steps: readonly HistoryPoint[], most = MOST_POINTS): History {
  const span = Math.max(1, Math.ceil(steps.length / most));
  const out: HistoryPoint[] = [];
  for (let start = 0; start < steps.length; start += span) {
    const some = steps.slice(start, start + span);
    const mean = (of: (point: HistoryPoint) => number): number =>
      some.reduce((sum, point) => sum + of(point), 0) / some.length;
    out.push({ step: mean(({ step }) => step), loss: mean(({ loss }) => loss) });
  }
  return { span, points: out };
}
