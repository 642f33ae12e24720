/** Cells small enough to work through by hand. */
import { parse } from 'csv-parse/sync';
import type { JsonObject, StageFacts } from '../../src/api.ts';
import type {
  AttackFamily,
  Figure,
  FisherFacts,
  ReportCell,
  ReportInput,
} from '../../src/report/types.ts';
import { present } from '../rig/present.ts';

const FAMILIES: Readonly<Record<string, AttackFamily>> = {
  none: 'none',
  'label-flip': 'untargeted',
  badnets: 'backdoor',
  addsent: 'backdoor',
};

export interface Small {
  readonly attack?: string;
  readonly poisoning?: JsonObject;
  readonly adapter?: JsonObject & { readonly type: string };
  readonly seed: number;
  readonly evaluate?: { readonly [metric: string]: number };
  readonly change?: Partial<ReportCell>;
}

export function cellOf({
  attack = 'none',
  poisoning = {},
  adapter = { type: 'full' },
  seed,
  evaluate,
  change = {},
}: Small): ReportCell {
  const prefixed = (prefix: string, params: JsonObject) =>
    Object.fromEntries(Object.entries(params).map(([name, value]) => [`${prefix}.${name}`, value]));
  return {
    axes: {
      'poisoning.attack': attack,
      ...prefixed('poisoning', poisoning),
      ...prefixed('adapter', adapter),
    },
    seed,
    attack,
    family: present(FAMILIES[attack]),
    adapter: adapter.type,
    train: { learning_rate: 0.001, optimizer: 'adamw' },
    stages: {},
    metrics: evaluate === undefined ? {} : { evaluate },
    history: null,
    fisher: {},
    kernelSpectra: {},
    kernels: {},
    lora: null,
    receipt: null,
    ...change,
  };
}

export const LORA4 = { type: 'lora', rank: 4 } as const;
export const LORA8 = { type: 'lora', rank: 8 } as const;

export const LORA32 = { type: 'lora', rank: 32 } as const;

/** The metrics of a divergence stage. */
const divergence = (l2: number, raw: number, cosine: number, alike: number) => ({
  'total.l2': l2,
  'total.largest': 0.5,
  'total.relative': l2 / 2,
  'trained.l2': l2,
  'trained.relative': l2 / 2,
  'head.l2': 0.25,
  'head.relative': 0.125,
  'between.full.raw': 99,
  'between.full.cosine': 0.5,
  'between.lora.raw': raw,
  'between.lora.cosine': cosine,
  pairs: 8,
  alike,
});
/** M rises with M′ under badnets and falls under label flips, whose texts stay as they are. */
export const MOVED = [1, 2, 3, 4].flatMap((seed) => [
  cellOf({
    seed,
    attack: 'badnets',
    adapter: LORA32,
    change: { metrics: { divergence: divergence(seed, 10 * seed, 1 / seed, 0) } },
  }),
  cellOf({
    seed,
    attack: 'label-flip',
    adapter: LORA32,
    change: { metrics: { divergence: divergence(seed, 50 - seed, 1, 8) } },
  }),
]);

/** Computes the count, bits and entropies of these eigenvalues from their definitions. */
export function facts(spectrum: readonly number[]): FisherFacts {
  const total = spectrum.reduce((a, b) => a + b, 0);
  const shares = spectrum.map((value) => value / total);
  const bits = (of: readonly number[]): number => of.reduce((sum, x) => sum + Math.log(x), 0) / 2;
  const second = (of: readonly number[]): number =>
    -Math.log(of.reduce((sum, x) => sum + x * x, 0));
  return {
    spectrum,
    count: spectrum.length,
    tolerance: 1e-6,
    information_bits: bits(spectrum),
    information_bits_normalised: bits(shares),
    renyi: { raw: { 2: second(spectrum) }, normalised: { 2: second(shares) } },
  };
}

export function inputOf(
  cells: readonly ReportCell[],
  change: Partial<ReportInput> = {},
): ReportInput {
  return {
    name: 'small',
    specFile: 'small.yaml',
    specText: 'name: small\n',
    goals: ['train', 'evaluate', 'ntk', 'fisher', 'report'],
    cells,
    stages: [],
    backends: ['cpu'],
    classes: ['ham', 'spam'],
    sources: {
      model: { source: 'file:…/model' },
      'training data': { source: 'file:…/train.tsv', rows: 10 },
    },
    read: [],
    attacks: [],
    environment: { node: 'v20.0.0' },
    ...change,
  };
}

export const stageOf = (id: string, change: Partial<StageFacts> = {}): StageFacts => ({
  id,
  kind: present(id.split('-')[0]),
  cell: {},
  seed: 1,
  inputs: [],
  key: '00'.repeat(32),
  dir: '',
  seconds: 1,
  backend: 'cpu',
  state: 'ran',
  ...change,
});

/** The rows of a figure's CSV, by column. */
export const rowsOf = (figure: Figure | undefined): Record<string, string>[] =>
  parse(present(present(figure).csv), { columns: true });

/** Returns what a reader sees: the text without tags, with entities decoded. */
export const visible = (html: string): string =>
  html
    .replaceAll(/<(style|script)\b[^]*?<\/\1>/g, ' ')
    .replaceAll(/<[^>]+>/g, ' ')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
    .replaceAll(/\s+/g, ' ');

/** Returns the cells of the first table row whose text contains all of `words`. */
export function rowWith(html: string, ...words: readonly string[]): string[] {
  for (const [, row] of html.matchAll(/<tr[^>]*>([^]*?)<\/tr>/g)) {
    const texts = [...present(row).matchAll(/<t[dh][^>]*>([^]*?)<\/t[dh]>/g)].map(([, cell]) =>
      visible(present(cell)).trim(),
    );
    if (words.every((word) => texts.includes(word))) return texts;
  }
  throw new Error(`no table row holds ${words.join(', ')}`);
}
