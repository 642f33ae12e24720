/**
 * The report's own figures of the grid, as entries. An entry with nothing to show gives no figure.
 */
import { basePrefix } from '../../api.ts';
import type { CellPattern, Channel, FigureEntry } from '../../api/report.ts';
import {
  axisValue,
  byName,
  type Condition,
  headlineBlocks,
  labelsLeftOut,
  numericAxis,
  startLabel,
} from '../conditions.ts';
import { isDefended } from '../defences.ts';
import {
  alphaName,
  alphasOf,
  checkpointName,
  INFORMATION,
  type Scale,
  SCALES,
  withLora,
} from '../fisher.ts';
import { distinct, groupBy } from '../groups.ts';
import { axisName, blockLabel, doseUnit } from '../labels.ts';
import {
  ACCURACY,
  ASR,
  ASR_CLEAN,
  ASR_UNTRIGGERED,
  DROP,
  MAJORITY,
  metricName,
  type MetricNote,
} from '../metrics.ts';
import type { AttackFamily, ReportCell } from '../types.ts';
import { idsFor, KERNELS, leftOut, slug, takeFirst, varies } from './encode.ts';
import { measureOf } from './measure.ts';

export type Entries = (conditions: readonly Condition[]) => readonly FigureEntry[];

const yChannel = ({ stage, metric }: MetricNote): Channel => ({
  field: metricName({ stage, metric }),
});

/**
 * Returns a pattern for each of `some` conditions, with its value on every axis of `all`; null on
 * an axis that it lacks.
 */
function patternsFor(
  some: readonly Condition[],
  all: readonly Condition[],
): readonly CellPattern[] {
  const paths = distinct(all.flatMap(({ axes }) => Object.keys(axes)));
  return some.map((condition) =>
    Object.fromEntries(paths.map((path) => [path, [axisValue(condition, path) ?? null]])),
  );
}

const attackPattern = (
  conditions: readonly Condition[],
  families: readonly AttackFamily[],
): CellPattern => ({
  'poisoning.attack': distinct(
    conditions
      .filter(({ family }) => families.includes(family))
      .map((condition) => axisValue(condition, 'poisoning.attack') ?? null),
  ),
});

const BLOCK = ['attack', 'setting'];
const EVERY_FAMILY = ['none', 'untargeted', 'backdoor'] as const;

/** For the first screen: each attack at its highest dose, beside what it must be compared with. */
export const answerEntries: Entries = (conditions) => {
  const under = (families: readonly AttackFamily[]): Condition[] =>
    families.flatMap((family) => headlineBlocks(conditions, family).flat());
  const leftOutOf = (families: readonly AttackFamily[]): string =>
    leftOut(
      families.flatMap((family) => labelsLeftOut(conditions, family).flat()),
      'condition',
    ).trim();
  const entry = (
    name: string,
    title: string,
    metric: MetricNote,
    references: readonly MetricNote[],
    families: readonly AttackFamily[],
  ): FigureEntry => ({
    name,
    title,
    mark: 'point',
    x: { field: 'adapter' },
    y: [{ ...yChannel(metric), domain: [0, 1] }],
    facet: { row: BLOCK },
    cells: patternsFor(under(families), conditions),
    caption: leftOutOf(families),
    seeds: false,
    values: true,
    references: references.map(metricName),
    size: 'phone',
  });
  return [
    entry('answer-accuracy', 'Clean accuracy', ACCURACY, [MAJORITY], EVERY_FAMILY),
    entry(
      'answer-asr',
      'Attack success rate (ASR)',
      ASR,
      [ASR_CLEAN, ASR_UNTRIGGERED],
      ['backdoor'],
    ),
  ].filter(({ cells = [] }) => cells.length > 0);
};

export const scoreEntries: Entries = () =>
  [ACCURACY, ASR].map((metric) => ({
    name: `scores-${metric.metric}`,
    title: `${metric.label} by attack and adapter`,
    x: { field: 'adapter' },
    y: [yChannel(metric)],
    facet: { row: BLOCK },
    references: metric === ASR ? [metricName(ASR_CLEAN)] : [],
  }));

/** The paired differences that answer the report's question. */
export const differenceEntries: Entries = (conditions) =>
  (
    [
      [ACCURACY, ['none']],
      [DROP, ['untargeted', 'backdoor']],
      [ASR, ['backdoor']],
    ] as const
  ).map(([metric, families]) => ({
    name: `differences-${slug(metric.metric)}`,
    title: `${metric.label}: paired differences, adapter − full fine-tuning`,
    caption: metric === ACCURACY ? '' : 'Right of zero: the adapter is hurt more.',
    x: { field: 'adapter' },
    y: [yChannel(metric)],
    facet: { row: BLOCK },
    cells: [attackPattern(conditions, families)],
    against: 'full',
  }));

/** Heat maps of ASR and accuracy, attacks against defences; none if no cell has a defence. */
export const defenceEntries: Entries = (conditions) =>
  !conditions.some(isDefended)
    ? []
    : (
        [
          [ASR, 'ASR', 'What is rejected does not succeed.'],
          [ACCURACY, 'Clean accuracy', 'What is rejected counts as wrong.'],
        ] as const
      ).map(([metric, title, caption]): FigureEntry => ({
        name: `defences-${metric.metric}`,
        title: `${title}, attacks against defences`,
        caption,
        mark: 'heatmap',
        x: { field: 'attack' },
        y: [{ field: 'defence' }],
        color: { fields: [metricName(metric)] },
        facet: { [isWide(conditions) ? 'row' : 'column']: ['adapter'] },
      }));

const isWide = (conditions: readonly Condition[]): boolean =>
  distinct(conditions.map(({ attackLabel }) => attackLabel)).length *
    distinct(conditions.map(({ adapterLabel }) => adapterLabel)).length >
  MOST_SQUARES;
const MOST_SQUARES = 20;

const fisherField = (name: string): string => `fisher.final.lora.true.${name}`;
/** What is drawn along an axis of adapters, and under which attacks. */
const ALONG: readonly (readonly [field: string, id: string, families: readonly AttackFamily[]])[] =
  [
    [metricName(ACCURACY), ACCURACY.metric, EVERY_FAMILY],
    [metricName(DROP), DROP.metric, ['untargeted']],
    [metricName(ASR), ASR.metric, ['backdoor']],
    ...[
      ...INFORMATION.map(({ id }) => id),
      ...['0.5', '2'].flatMap((alpha) => SCALES.map((scale) => `renyi_${scale}_${alpha}`)),
    ].map((id) => [fisherField(id), id, EVERY_FAMILY] as const),
  ];

const entriesAlongAxis =
  (path: string, name: string): Entries =>
  (conditions) =>
    ALONG.map(([field, id, families]) => ({
      name: slug(`${name}-${id}`),
      title: `${measureOf(field).label}, against ${name}`,
      mark: 'line',
      x: { field: path },
      y: [{ field }],
      color: { fields: [...BLOCK, 'adapter'] },
      cells: [attackPattern(conditions, families)],
    }));
export const rankEntries = entriesAlongAxis('adapter.rank', 'rank');
export const varianceEntries = entriesAlongAxis('adapter.init.variance', 'variance');

const MOST_ATTACKS = 4;
/** Sorts rates before counts, and the dose of a whole attack before those of its steps. */
const compareByUnit = (a: string, b: string): number =>
  Number(doseUnit(a) === 'count') - Number(doseUnit(b) === 'count') ||
  a.split('.').length - b.split('.').length;

/** Accuracy and ASR against a dose: for each dose, the first few attacks that vary it. */
export const doseEntries: Entries = (unique) => {
  const conditions = byName(unique);
  const paths = distinct(
    conditions.flatMap(({ axes }) =>
      Object.keys(axes).map((path) => path.slice(basePrefix(path).length)),
    ),
  )
    .filter((path) => doseUnit(path) !== null)
    .sort(compareByUnit);
  return paths.flatMap((path) => {
    const varied = [...groupBy(conditions, ({ attack }) => attack)].filter(([, some]) =>
      varies(some.map((condition) => numericAxis(condition, path))),
    );
    const { shown, left } = takeFirst(varied, MOST_ATTACKS);
    const others = leftOut(
      left.map(([attack]) => attack),
      'attack',
    );
    return shown.flatMap(([attack, [first]], i) =>
      [ACCURACY, ASR].map((metric): FigureEntry => ({
        name: slug(`dose-${attack}-${path}-${metric.metric}`),
        title:
          `${metric.label} against the ` +
          `${path.startsWith('poisoning.steps.') ? axisName(path) : 'dose'} of ${attack}`,
        x: { field: path },
        y: [yChannel(metric)],
        cells: [{ 'poisoning.attack': [axisValue(first, 'poisoning.attack') ?? null, 'none'] }],
        caption: i === 0 ? others.trim() : '',
      })),
    );
  });
};

const MOST_BLOCKS = 4;
export const MOST_ADAPTERS = 8;

/**
 * Returns an entry with curves over steps for each of the first few blocks of the conditions
 * `trained`, with the first few adapters.
 * @param entryOf returns the parts of a block's entry that differ between kinds of figures
 */
function entriesOverSteps(
  all: readonly Condition[],
  trained: readonly Condition[],
  entryOf: (
    block: string,
    some: readonly Condition[],
  ) => Pick<FigureEntry, 'title' | 'caption' | 'y'>,
  name: string,
): readonly FigureEntry[] {
  const { shown: adapters, left: otherAdapters } = takeFirst(
    distinct(trained.map(({ adapterLabel }) => adapterLabel)),
    MOST_ADAPTERS,
  );
  const { shown, left } = takeFirst([...groupBy(trained, blockLabel)], MOST_BLOCKS);
  const names = idsFor(
    name,
    shown.map(([block]) => block),
  );
  const others =
    leftOut(
      left.map(([block]) => block),
      'attack condition',
    ) + leftOut(otherAdapters, 'adapter');
  return shown.map(([block, of], i) => {
    const some = of.filter(({ adapterLabel }) => adapters.includes(adapterLabel));
    const { caption = '', ...entry } = entryOf(block, some);
    return {
      name: names[i] ?? name,
      mark: 'line',
      x: { field: 'step' },
      color: { fields: ['adapter'] },
      cells: patternsFor(some, all),
      ...entry,
      caption: `${caption}${i === 0 ? others : ''}`.trim(),
    };
  });
}

/** Says how many steps a point of the loss is averaged over; '' for one step. */
function spanText(conditions: readonly Condition[]): string {
  const spans = conditions.flatMap(({ cells }) =>
    cells.flatMap(({ history }) => history?.span ?? []),
  );
  const least = Math.min(...spans),
    most = Math.max(...spans);
  if (most <= 1) return '';
  return least === most
    ? `Each point is the mean of ${most} steps.`
    : `Each point is the mean of ${least} to ${most} steps, more in longer trainings.`;
}

export const lossEntries: Entries = (conditions) => {
  const trained = conditions.filter(({ cells }) =>
    cells.some(({ history }) => history !== null && history.points.length > 1),
  );
  return entriesOverSteps(
    conditions,
    trained,
    (block, some) => {
      const isAttacks = some.some(({ cells }) => cells.some(({ attacksLoss }) => attacksLoss));
      return {
        title: `Training loss, ${block}`,
        y: [
          {
            field: 'train.loss',
            title: `training loss (${isAttacks ? 'the attack’s own' : 'cross-entropy'})`,
          },
        ],
        caption:
          spanText(some) +
          (isAttacks
            ? ' The loss is the attack’s own, on another scale than the cross-entropy of other ' +
              'conditions.'
            : ''),
      };
    },
    'loss',
  );
};

/** Whether early stopping kept another model than the last; false if it may not stop. */
const keepsEarlier = ({ metrics: { train = {} } }: ReportCell): boolean =>
  (train['kept_step'] ?? Infinity) < (train['steps'] ?? 0);

export const stepEntries: Entries = (conditions) =>
  entriesOverSteps(
    conditions,
    conditions.filter(({ cells }) => cells.some(({ curves = [] }) => curves.length > 1)),
    (block, some) => ({
      title: `Over steps, ${block}`,
      y: (
        [
          ['evaluate.accuracy', 'clean accuracy'],
          ['evaluate.asr', 'ASR'],
          ['train.poisoned_accuracy', 'accuracy on poisoned rows'],
        ] as const
      ).map(([field, title]) => ({ field, title, domain: [0, 1] })),
      caption:
        'Each begins with the model as it starts.' +
        (some.some(({ cells }) => cells.some(keepsEarlier))
          ? ' Early stopping keeps the model of the best evaluation after the start, which may ' +
            'come before the last one.'
          : ''),
    }),
    'steps',
  );

/** Accuracy and ASR after each training of a chain; none if no cell has a chain. */
export const chainEntries: Entries = (conditions) =>
  !conditions.some(({ cells }) => cells.some(({ chain }) => chain !== undefined))
    ? []
    : [
        {
          name: 'chain',
          title: 'After each training of the chain',
          mark: 'line',
          x: { field: 'training' },
          y: [ACCURACY, ASR].map((metric) => ({ ...yChannel(metric), domain: [0, 1] })),
          color: { fields: [...BLOCK, 'adapter'] },
        },
      ];

const BITS = [
  {
    title: 'Information bits',
    caption:
      'IB = ½ Σ log λ: depends on the kernel’s scale (s²σ²) and on how many eigenvalues count.',
  },
  {
    title: 'Information bits, normalised',
    caption: '½ Σ log(λ/Σλ): independent of the kernel’s scale.',
  },
];

export const informationEntries: Entries = (conditions) =>
  (['init', 'final'] as const).flatMap((checkpoint) => {
    const shown = withLora(conditions, checkpoint);
    return shown.length === 0
      ? []
      : INFORMATION.map(({ id }, i): FigureEntry => {
          const { title = id, caption = '' } = BITS[i] ?? {};
          return {
            name: `${slug(id)}-${checkpoint}`,
            title: `${title}, ${checkpointName(checkpoint)}`,
            caption,
            x: { field: 'adapter' },
            y: KERNELS.map(({ of: kernel }) => ({
              field: `fisher.${checkpoint}.${kernel}.true.${id}`,
            })),
            color: { fields: ['kernel'] },
            // At initialisation the attack plays no part, so each adapter counts once.
            facet: { row: checkpoint === 'init' ? ['setting'] : BLOCK },
            cells: patternsFor(shown, conditions),
          };
        });
  });

const ENTROPIES: Readonly<Record<Scale, string>> = {
  raw:
    'As the paper defines it, on unnormalised eigenvalues: not an entropy unless Σλ = 1, ' +
    'so the order of LoRA and full may reverse at α = 1.',
  normalised: 'On λ/Σλ: a true entropy.',
};

/** Rényi entropies against α, for the block of the first condition with a LoRA kernel. */
export const entropyEntries: Entries = (conditions) =>
  (['init', 'final'] as const).flatMap((checkpoint) => {
    const having = withLora(conditions, checkpoint),
      [first] = having;
    if (first === undefined) return [];
    const block = having.filter((one) => blockLabel(one) === blockLabel(first));
    const name = checkpoint === 'final' ? blockLabel(first) : startLabel(first);
    const { shown, left } = takeFirst(block, MOST_WITH_ENTROPY);
    const otherBlocks = distinct(
      having
        .filter((one) => !block.includes(one))
        .map(checkpoint === 'final' ? blockLabel : startLabel),
    ).filter((other) => other !== name);
    const others =
      leftOut(
        left.map(({ adapterLabel }) => adapterLabel),
        'adapter',
      ) + leftOut(otherBlocks, 'condition');
    const cells = shown.flatMap((condition) => condition.cells);
    return SCALES.map((scale): FigureEntry => ({
      name: `renyi-${scale}-${checkpoint}`,
      title: `Rényi entropy, ${scale}, ${checkpointName(checkpoint)}`,
      caption:
        `${ENTROPIES[scale]} In nats. The full kernel is that of the same layers, at that ` +
        `adapter’s weights.${name === '' ? '' : ` Shown: ${name}.`}` +
        others,
      mark: 'line',
      x: { field: 'metric', title: 'order α' },
      y: alphasOf(cells, scale).flatMap((alpha) =>
        KERNELS.map(({ of: kernel }) => ({
          field: `fisher.${checkpoint}.${kernel}.true.renyi_${scale}_${alpha}`,
          title: alphaName(alpha),
        })),
      ),
      color: { fields: ['adapter'] },
      facet: { column: ['kernel'] },
      cells: patternsFor(shown, conditions),
      seeds: false,
    }));
  });
const MOST_WITH_ENTROPY = 6;
