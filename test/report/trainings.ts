/** The made-up trainings of the fixture: their scores, kernels, losses and stages. */
import type { JsonObject, StageFacts } from '../../src/api.ts';
import { randomStream } from '../../src/base/random.ts';
import { binHistory } from '../../src/report/inputs.ts';
import type {
  AttackFamily,
  FisherFacts,
  FisherPoint,
  KernelPoint,
  LoraLayers,
  ReportCell,
} from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { receiptOf } from './receipts.ts';

export type Attack = JsonObject & { readonly attack: string; readonly rate?: number };
export type Adapter = JsonObject & { readonly type: string; readonly rank?: number };

export const QUICK_ATTACKS: readonly Attack[] = [
  { attack: 'none' },
  { attack: 'label-flip', rate: 0.3 },
  { attack: 'badnets', rate: 0.1, target: 'ham', mode: 'dirty' },
];
const loraOf = (rank: number): Adapter => ({
  type: 'lora',
  rank,
  alpha: 'r',
  'init.distribution': 'uniform',
  'init.variance': '1/(3d)',
  targets: 'all-linear',
});
export const QUICK_ADAPTERS: readonly Adapter[] = [{ type: 'full' }, loraOf(4), loraOf(16)];

function fisherFacts(seed: number, scale: number, count: number): FisherFacts {
  const random = randomStream(seed, 'fixture', `fisher ${scale} ${count}`);
  const spectrum = Array.from(
    { length: count },
    (_, i) => scale * Math.exp(-0.32 * i + 0.1 * random.normal()),
  ).sort((a, b) => b - a);
  const total = spectrum.reduce((a, b) => a + b, 0);
  const entropies = (values: readonly number[], alphas: readonly string[]) =>
    Object.fromEntries(
      alphas.map((alpha) => {
        if (alpha === 'inf') return [alpha, -Math.log(present(values[0]))];
        if (alpha === '1') return [alpha, -values.reduce((sum, x) => sum + x * Math.log(x), 0)];
        return [
          alpha,
          Math.log(values.reduce((sum, x) => sum + x ** Number(alpha), 0)) / (1 - Number(alpha)),
        ];
      }),
    );
  const shares = spectrum.map((value) => value / total);
  return {
    spectrum: [...spectrum, ...Array.from({ length: count }, () => 0)],
    count,
    tolerance: 1e-6,
    information_bits: spectrum.reduce((sum, x) => sum + Math.log(x), 0) / 2,
    information_bits_normalised: shares.reduce((sum, x) => sum + Math.log(x), 0) / 2,
    renyi: {
      raw: entropies(spectrum, ['0.5', '2', '3', 'inf']),
      normalised: entropies(shares, ['0.5', '1', '2', '3', 'inf']),
    },
  };
}

/** (N, C, N, C), from features with a class direction, so that maps have blocks as real ones do. */
export function kernelPoint(
  seed: number,
  rows: number,
  scales: { readonly lora?: number; readonly full: number },
): KernelPoint {
  const random = randomStream(seed, 'fixture', 'kernel');
  const classes = 2,
    width = 7;
  const labels = Array.from({ length: rows }, (_, i) => i % 2);
  const features = labels.map((label) =>
    Array.from(
      { length: width },
      (_, k) => random.normal() * 0.7 + (k === 0 ? (label === 0 ? 1.6 : -1.3) : k === 1 ? 0.9 : 0),
    ),
  );
  const data = (scale: number): Float64Array => {
    const out = new Float64Array((rows * classes) ** 2);
    for (let i = 0; i < rows; i++)
      for (let c = 0; c < classes; c++)
        for (let j = 0; j < rows; j++)
          for (let d = 0; d < classes; d++) {
            const dot = present(features[i]).reduce(
              (sum, x, k) => sum + x * present(features[j]![k]),
              0,
            );
            out[((i * classes + c) * rows + j) * classes + d] = scale * dot * (c === d ? 1 : -0.8);
          }
    return out;
  };
  return {
    labels,
    kernels: {
      full: { rows, classes, data: data(scales.full) },
      ...(scales.lora === undefined ? {} : { lora: { rows, classes, data: data(scales.lora) } }),
    },
  };
}

const prefixed = (prefix: string, params: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(params).map(([name, value]) => [`${prefix}.${name}`, value]));

/** One training: its condition, and a separate stream of random numbers. */
interface Training {
  readonly name: string;
  readonly seed: number;
  readonly attack: Attack;
  readonly adapter: Adapter;
  readonly family: AttackFamily;
  readonly isLora: boolean;
  readonly rank: number;
  readonly rate: number;
  readonly axes: JsonObject;
  readonly random: ReturnType<typeof randomStream>;
}

function familyOf({ attack }: Attack): AttackFamily {
  if (attack === 'none') return 'none';
  return attack === 'label-flip' ? 'untargeted' : 'backdoor';
}

export function trainingOf(attack: Attack, adapter: Adapter, seed: number): Training {
  const isLora = adapter.type === 'lora';
  const { rate = 0 } = attack,
    { rank = 0 } = adapter;
  const variance = JSON.stringify(adapter['init.variance'] ?? '').replaceAll(/\W/g, '');
  const name = [
    `${attack.attack}${attack.rate ?? ''}`,
    `${adapter.type}${adapter.rank ?? ''}${variance}`,
    seed,
  ].join('-');
  return {
    name,
    seed,
    attack,
    adapter,
    family: familyOf(attack),
    isLora,
    rank,
    rate,
    axes: {
      ...prefixed('poisoning', attack),
      ...prefixed('adapter', adapter),
      'train.learning_rate': learningRate(isLora),
    },
    random: randomStream(seed, 'fixture', name),
  };
}
const learningRate = (isLora: boolean): number => (isLora ? 0.001 : 0.0001);

/** Scores like the quickstart's: LoRA learns a little less, a backdoor works from a few rows on. */
function evaluation({ family, isLora, rate, random }: Training): { [metric: string]: number } {
  const clean = 0.95 - (isLora ? 0.008 : 0) + 0.008 * random.normal();
  const lost = { none: 0, untargeted: rate * (isLora ? 0.6 : 0.68), backdoor: 0.01 }[family];
  const accuracy = Math.min(1, clean - lost);
  const asrClean = 0.1 + 0.02 * random.uniform();
  const learnt = 0.85 * (1 - Math.exp(-rate * 40));
  const asr = Math.min(1, asrClean + learnt + 0.02 * random.normal());
  return {
    accuracy,
    precision: accuracy,
    recall: accuracy,
    f1: accuracy,
    majority_share: 0.5,
    predicted_share: 0.52,
    majority_p: 1e-9,
    ...(family === 'none'
      ? {}
      : { accuracy_drop: clean - accuracy, predicted_share_clean: 0.51, majority_p_clean: 1e-9 }),
    ...(family === 'backdoor'
      ? {
          asr,
          asr_clean: asrClean,
          asr_minus_clean: asr - asrClean,
          asr_untriggered: 1 - accuracy,
          asr_minus_untriggered: asr - 1 + accuracy,
          asr_untriggered_p: 1e-9,
          trigger_seen: 1,
          robust_accuracy: 1 - asr,
        }
      : {}),
  };
}

/** Collects the stages of all trainings. Stages that several trainings share are collected once. */
export function createStages() {
  const stages: StageFacts[] = [];
  const add = (
    kind: string,
    name: string,
    seconds: number,
    change: Partial<StageFacts> = {},
  ): string => {
    const id = `${kind}-${name}`;
    if (stages.some((known) => known.id === id)) return id;
    stages.push({
      id,
      kind,
      cell: {},
      seed: null,
      inputs: [],
      key: `${stages.length.toString(16).padStart(2, '0')}${'5e'.repeat(31)}`,
      dir: '',
      seconds,
      backend: ['train', 'evaluate', 'kernel'].includes(kind) ? 'tensorflow' : null,
      state: 'ran',
      ...change,
    });
    return id;
  };
  return { stages, add };
}

/** The stages of one training, by label. */
function stagesOf(
  { name, seed, attack, adapter, rank, rate, axes, random }: Training,
  { add }: ReturnType<typeof createStages>,
): { [label: string]: string } {
  const cell = { ...axes };
  const ofAttack = { cell: prefixed('poisoning', attack), seed },
    ofAdapter = { cell: prefixed('adapter', adapter), seed };
  const start = `init-${adapter.type}${rank}-${seed}`;
  const data = add('data', 'train', 0.6),
    validation = add('data', 'validation', 0.4);
  const poison = add('poison', `${attack.attack}${rate}-${seed}`, 0.1, {
    ...ofAttack,
    inputs: [data],
  });
  const train = add('train', name, 14 + 6 * random.uniform(), { cell, seed, inputs: [poison] });
  const init = add('train', start, 1.2, { ...ofAdapter, inputs: [data] });
  const evaluate = add('evaluate', name, 2 + random.uniform(), {
    cell,
    seed,
    inputs: [train, validation],
  });
  const kernelInit = add('kernel', start, 5, { ...ofAdapter, inputs: [init, validation] });
  const kernelFinal = add('kernel', name, 5 + random.uniform(), {
    cell,
    seed,
    inputs: [train, validation],
  });
  const ntk = add('ntk', name, 0.1, { cell, seed, inputs: [kernelInit, kernelFinal] });
  const fisher = add('fisher', name, 0.4, { cell, seed, inputs: [ntk] });
  return {
    poison,
    train,
    evaluate,
    'kernel(init)': kernelInit,
    'kernel(final)': kernelFinal,
    ntk,
    fisher,
  };
}

/**
 * Makes kernels, Fisher information and the premise. Those of LoRA are the full ones times a scale.
 */
function theoryOf(
  { seed, family, isLora, rank }: Training,
  rows: number,
): Pick<ReportCell, 'fisher' | 'kernelSpectra' | 'kernels' | 'lora'> {
  const scale = isLora ? ((0.33 * rank) / 384) * 20 : 1;
  const both = (salt: number, size: number, count: number) => ({
    true: fisherFacts(seed * 100 + salt, 4 * size, count),
    empirical: fisherFacts(seed * 100 + salt + (count === rows ? 7 : 6), 3 * size, count),
  });
  const point = (salt: number, shift: number): FisherPoint => ({
    full: both(salt, shift, rows),
    ...(isLora ? { lora: both(salt + 3, scale * shift, rows - 1) } : {}),
  });
  const spectrum = (factor: number): number[] =>
    Array.from({ length: rows }, (_, i) => factor * 40 * Math.exp(-0.2 * i));
  const spectra = { full: spectrum(1), ...(isLora ? { lora: spectrum(scale) } : {}) };
  return {
    fisher: {
      init: point(1, 1),
      final: point(
        { none: 20, untargeted: 40, backdoor: 60 }[family],
        family === 'untargeted' ? 2 : 0.3,
      ),
    },
    kernelSpectra: { init: spectra, final: spectra },
    kernels: {
      init: kernelPoint(seed, rows, { full: 1, ...(isLora ? { lora: scale } : {}) }),
      final: kernelPoint(seed + 50, rows, { full: 1.6, ...(isLora ? { lora: 1.3 * scale } : {}) }),
    },
    lora: isLora ? [384, 1536].map((n) => layersOf(n, rank)) : null,
  };
}

function layersOf(fanIn: number, rank: number): LoraLayers {
  const spread = Math.sqrt(rank / fanIn);
  return {
    fanIn,
    rank,
    scale: 1,
    layers: fanIn === 384 ? 31 : 6,
    variance: 1 / (3 * fanIn),
    measured: {
      low: ((1 - spread) ** 2 / 3) * 1.03 - 1,
      high: ((1 + spread) ** 2 / 3) * 0.98 - 1,
    },
  };
}

const historyOf = ({ family, isLora, random }: Training) =>
  binHistory(
    Array.from({ length: 76 }, (_, i) => ({
      step: i + 1,
      loss:
        (family === 'untargeted' ? 0.55 : 0.12) +
        0.6 * Math.exp(-i / (isLora ? 18 : 12)) +
        0.05 * Math.abs(random.normal()),
    })),
  );

export function cellOf(
  training: Training,
  stages: ReturnType<typeof createStages>,
  rows: number,
): ReportCell {
  const { axes, seed, family, attack, adapter, isLora } = training;
  const evaluate = evaluation(training);
  return {
    axes,
    seed,
    family,
    attack: attack.attack,
    adapter: adapter.type,
    train: {
      epochs: 2,
      batch_size: 16,
      max_length: 64,
      optimizer: 'adamw',
      learning_rate: learningRate(isLora),
      weight_decay: 0.01,
      schedule: 'constant',
    },
    stages: stagesOf(training, stages),
    metrics: {
      train: { final_loss: 0.1, seconds: 14, examples_per_second: 80 },
      evaluate,
      ntk: {
        'init.alignment': 0.93,
        'final.alignment': 0.81,
        'lora.drift': 2.4,
        'full.drift': 0.8,
      },
    },
    history: historyOf(training),
    ...theoryOf(training, rows),
    receipt: receiptOf(training.family, training.rate),
  };
}
