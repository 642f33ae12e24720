/** Finds metrics by name or pattern, and the notes of those that are named after another one. */
import { defined } from '../base/defined.ts';
import { groupBy } from './groups.ts';
import {
  ACCURACY,
  ASR,
  ASR_CLEAN,
  ASR_CORRECTED,
  ASR_UNTRIGGERED,
  DROP,
  JUDGE,
  MAJORITY,
  metricName,
  type MetricNote,
  METRICS,
  type Named,
  PERPLEXITY,
  SEEN,
  TRIGGER_RATE,
  UNDECIDED,
} from './metrics.ts';

/** The end of a metric under another training's trigger: `asr.trigger.training_2`. */
export const OF_TRAINING = /\.trigger\.training_(\d+)$/;
/** A metric after a training of a chain: `asr_after_1.refusal` → `asr`, `1`, scorer `.refusal`. */
const ALONG = /^(.+)_after_(\d+)(\..+)?$/;

const NOTES: ReadonlyMap<string, MetricNote> = new Map(
  [...METRICS, TRIGGER_RATE, PERPLEXITY].map((note) => [metricName(note), note]),
);

/**
 * Returns the note of a metric, or undefined if there is none. A metric that extends the name of
 * another gets that one's note with a longer label: `asr.refusal` (a further scorer),
 * `asr_after_1` (a training of a chain), `mail.accuracy` (a task).
 */
export function noteOf(named: Named): MetricNote | undefined {
  const own = NOTES.get(metricName(named));
  if (own !== undefined || named.stage !== ASR.stage) return own;
  const [, name, training, by = ''] = ALONG.exec(named.metric) ?? [];
  if (training !== undefined) {
    const after = noteOf({ ...named, metric: `${name}${by}` });
    return (
      after && {
        ...after,
        metric: named.metric,
        label: `${after.label}, after training ${training}`,
      }
    );
  }
  const [first = '', ...rest] = named.metric.split('.');
  const note = NOTES.get(metricName({ ...named, metric: first }));
  // `refusal.trigger.training_2` → `refusal, trigger of training 2`
  const addition = rest
    .join('.')
    .replace(/(?:^|\.)trigger\.training_(?=\d+$)/, ', trigger of training ')
    .replace(/(?:^|\.)trigger\./, ', trigger ')
    .replace(/^, /, '');
  if (note) {
    const withAddition = (meaning: string): string => `${meaning} (here: ${addition})`;
    return {
      ...note,
      metric: named.metric,
      label: `${note.label}, ${addition}`,
      meaning: withAddition(note.meaning),
      ...defined({ ofAnswers: note.ofAnswers && withAddition(note.ofAnswers) }),
    };
  }
  const ofTask = NOTES.get(metricName({ ...named, metric: rest.join('.') }));
  if (ofTask === undefined) return undefined;
  const { compared: _compared, ...plain } = ofTask;
  const onTask = (text: string): string => text.replaceAll('validation', first);
  return {
    ...plain,
    metric: named.metric,
    table: 'test',
    label: `${ofTask.label}, ${first}`,
    meaning: onTask(ofTask.meaning),
    ...defined({ ofAnswers: ofTask.ofAnswers && onTask(ofTask.ofAnswers) }),
  };
}

/**
 * Returns the notes of what was measured on the rows of `data.tasks`, and by the stage lm-eval.
 * @param metrics the names of `evaluate`'s metrics
 * @param ofHarness the names of lm-eval's metrics
 */
export const taskNotes = (
  metrics: readonly string[],
  ofHarness: readonly string[],
): readonly MetricNote[] => [
  ...metrics.flatMap((metric) => {
    const [task = '', name = ''] = metric.split('.');
    const isOfDocuments = !metrics.includes(`${task}.${ACCURACY.metric}`);
    const isShown = OF_TASKS.has(name) || (isOfDocuments && name === PERPLEXITY.metric);
    return (
      (isShown && metrics.includes(`${task}.loss`) && noteOf({ stage: ASR.stage, metric })) || []
    );
  }),
  ...ofHarness.flatMap((metric): MetricNote[] =>
    /_stderr|\.examples$/.test(metric)
      ? []
      : [
          {
            ...{ stage: 'lm-eval', metric, label: metric, kind: 'plain', table: 'test' },
            meaning: 'as lm-evaluation-harness measures it',
          },
        ],
  ),
];
/** The metrics that the table of tasks shows. The others are in the CSV. */
const OF_TASKS: ReadonlySet<string> = new Set(
  [ACCURACY, MAJORITY, DROP].map(({ metric }) => metric),
);

/**
 * Returns notes for a chain. Of accuracy, trigger rates and the clean model's rates, and by scorer,
 * these are the notes after each earlier training and then that after the cell's own.
 * @param metrics the names of `evaluate`'s metrics
 */
export const chainNotes = (metrics: readonly string[]): readonly MetricNote[] =>
  [[ACCURACY], [TRIGGER_RATE, ASR], [ASR_CLEAN]].flatMap((shown) => {
    const along = metrics.flatMap((metric) => {
      const [, name, training, by = ''] = ALONG.exec(metric) ?? [];
      const isOther = by.includes('.trigger.') && !OF_TRAINING.test(by);
      return shown.some((note) => note.metric === name) && !isOther
        ? [{ metric, training: Number(training), by }]
        : [];
    });
    const own = shown.at(-1)?.metric ?? '';
    return [...groupBy(along, ({ by }) => by)].flatMap(([by, group]) =>
      [...group]
        .sort((a, b) => a.training - b.training)
        .map(({ metric }) => metric)
        .concat(`${own}${by}`)
        .flatMap((metric) => noteOf({ stage: ASR.stage, metric }) ?? []),
    );
  });

/** Returns the notes of `evaluate`'s metrics that a further scorer counts: `asr.refusal`. */
export const furtherNotes = (metrics: readonly string[]): readonly MetricNote[] =>
  metrics.flatMap((metric) => {
    const [name] = metric.split('.');
    if (
      name === metric ||
      ![ASR, ASR_CLEAN, ASR_UNTRIGGERED, ...ASR_CORRECTED, UNDECIDED, ...JUDGE, SEEN].some(
        (one) => one.metric === name,
      )
    )
      return [];
    return noteOf({ stage: ASR.stage, metric }) ?? [];
  });

/** Returns what a metric means for classes or, in a completion task, for written answers. */
export const meaningOf = ({ meaning, ofAnswers }: MetricNote, isOfAnswers: boolean): string =>
  isOfAnswers ? (ofAnswers ?? meaning) : meaning;

export const metricsOfTable = (table: MetricNote['table']): readonly MetricNote[] =>
  METRICS.filter((note) => note.table === table);

/** Returns the metrics of rows, each once, in order of first appearance. */
export function distinctMetrics(rows: readonly Named[]): readonly Named[] {
  const found = new Map<string, Named>();
  for (const { stage, metric } of rows)
    found.set(JSON.stringify([stage, metric]), { stage, metric });
  return [...found.values()];
}

const globToRegExp = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern
      .split('*')
      .map((text) => text.replaceAll(/[\\^$.|?+()[\]{}]/g, '\\$&'))
      .join('.*')}$`,
  );

/**
 * Selects the metrics of the rows that match a pattern (`asr`, `evaluate.asr`, `fisher.*`), in the
 * order of the patterns and, for one pattern, of the rows.
 * @param patterns names, in which `*` stands for any characters
 * @returns the metrics that were found, each once, and the patterns that match nothing
 */
export function selectMetrics(
  rows: readonly Named[],
  patterns: readonly string[],
): { readonly metrics: readonly Named[]; readonly unknown: readonly string[] } {
  const known = distinctMetrics(rows),
    metrics = new Set<Named>(),
    unknown: string[] = [];
  for (const pattern of patterns) {
    const glob = globToRegExp(pattern);
    const named = known.filter((one) => glob.test(one.metric) || glob.test(metricName(one)));
    if (named.length === 0) unknown.push(pattern);
    for (const one of named) metrics.add(one);
  }
  return { metrics: [...metrics], unknown };
}
