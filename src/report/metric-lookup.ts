/** Finds metrics by name or pattern, and makes the notes of metrics that are named after others. */
import { escapeRegExp } from '../base/regexp.ts';
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
  type Metric,
  metricName,
  type MetricNote,
  METRICS,
  PERPLEXITY,
  SEEN,
  taskOf,
  TRIGGER_RATE,
  UNDECIDED,
} from './metrics.ts';

/** Matches the end of a metric under the trigger of training 2: `asr.trigger.training_2`. */
export const OF_TRAINING = /\.trigger\.training_(\d+)$/;
/** Splits `asr_after_1.refusal` into the metric, the number of the training and the scorer. */
const ALONG = /^(.+)_after_(\d+)(\..+)?$/;

const NOTES: ReadonlyMap<string, MetricNote> = new Map(
  [...METRICS, TRIGGER_RATE, PERPLEXITY].map((note) => [metricName(note), note]),
);

/**
 * Returns the note of a metric, or undefined if there is none. The metrics `asr.refusal` (of a
 * further scorer), `asr_after_1` (after a training of a chain) and `mail.accuracy` (on a task's
 * rows) get the note of `asr` or `accuracy` with a longer label.
 */
export function noteOf(named: Metric): MetricNote | undefined {
  const own = NOTES.get(metricName(named));
  if (own !== undefined || named.stage !== ASR.stage) return own;
  const [, name, training, by = ''] = ALONG.exec(named.metric) ?? [];
  if (training !== undefined) {
    const after = noteOf({ ...named, metric: `${name}${by}` });
    const label = `${after?.label ?? ''}, after training ${training}`;
    return after && { ...after, metric: named.metric, label };
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
      ofAnswers: note.ofAnswers && withAddition(note.ofAnswers),
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
    ofAnswers: ofTask.ofAnswers && onTask(ofTask.ofAnswers),
  };
}

/** Returns the parts that all labels begin with: `ASR` for `ASR, refusal` and `ASR, judge`. */
export function commonLabel([label = '', ...others]: readonly string[]): string {
  const parts = label.split(', ');
  const end = parts.findIndex((part, i) => others.some((one) => one.split(', ')[i] !== part));
  return parts.slice(0, end < 0 ? undefined : end).join(', ');
}

/**
 * By stage, the names of metrics without a note: no table shows them, or only with an ending
 * (`_after_1`, `.NAME`).
 */
const WITHOUT_NOTE: Readonly<Record<string, readonly string[]>> = {
  evaluate: [
    ...['examples', 'loss', 'precision', 'recall', 'exact_match', 'rouge_l_drop', 'token_f1_drop'],
    ...['accuracy_accepted', 'accuracy_accepted_drop', 'accuracy_undefended', 'pearson_drop'],
    ...['', '_clean', '_undefended'].flatMap((of) =>
      ['majority_p', 'majority_share', 'predicted_share'].map((name) => `${name}${of}`),
    ),
    ...['asr', 'trigger_rate'].flatMap((rate) =>
      ['low', 'high', 'undefended', 'corrected', 'corrected_low', 'corrected_high'].map(
        (end) => `${rate}_${end}`,
      ),
    ),
    ...['asr_corrected_clean', 'asr_untriggered_p', 'triggered_rejected_share', 'triggered_rows'],
    ...['reward_margin', 'reward_accuracy_clean', 'reward_accuracy_p', 'reward_accuracy_p_clean'],
    ...['triggered_reward_margin', 'false_trigger_rows', 'model_threshold'],
    ...['rows_judged', 'rows_dropped', 'rows_cleaned', 'agreement', 'kappa', 'fleiss_kappa'],
    'poisoned_accuracy', // of `train`; but over steps, the stage in a field's name plays no part
  ],
  train: [
    ...['steps', 'examples', 'tokens', 'seconds', 'examples_per_second', 'tokens_per_second'],
    ...['final_loss', 'loss', 'accuracy', 'asr', 'kept_step', 'packed', 'peak_memory_mb'],
    ...['poisoned_rows', 'trainable_parameters'],
  ],
};

/** Matches what the metrics on test rows, or after a training of a chain, add to a name. */
const AFFIXES = /^test_|_after_\d+$/g;

const OF_FISHER =
  /^(?:init|final|step-\d+)\.(?:lora|full)\.(?:true|empirical)\.(?:count|trace|largest|information_bits(?:_normalised)?|renyi_(?:raw|normalised)_[\w.+-]+)$/;

/**
 * Returns the names to offer in place of a metric that its stage cannot have: all of the stage's
 * or, for `fisher`, an example. Returns null if the stage can have the metric, or if the stage's
 * metrics are not known here.
 */
export function namesInstead({ stage, metric }: Metric): readonly string[] | null {
  if (stage === 'fisher')
    return OF_FISHER.test(metric) ? null : ['final.lora.true.information_bits'];
  const withoutNote = WITHOUT_NOTE[stage];
  if (withoutNote === undefined) return null;
  const noted = [...NOTES.values()].filter((note) => note.stage === stage);
  const names = [...noted.map((note) => note.metric), ...withoutNote];
  // The name of a task precedes its metric; the name of a scorer, of a trigger or of two scorers
  // follows it.
  const parts = metric.split('.').map((part) => part.replaceAll(AFFIXES, ''));
  return parts.some((part) => names.includes(part)) ? null : names;
}

/** Returns the notes of metrics on the rows of `data.tasks`, and of the metrics of lm-eval. */
export const taskNotes = (
  metrics: readonly string[],
  ofHarness: readonly string[],
): readonly MetricNote[] => [
  ...metrics.flatMap((metric) => {
    const [task = '', name = ''] = metric.split('.');
    const isOfDocuments = !metrics.includes(`${task}.${ACCURACY.metric}`);
    const isShown = OF_TASKS.has(name) || (isOfDocuments && name === PERPLEXITY.metric);
    return (
      (isShown &&
        taskOf(metric, (other) => metrics.includes(other)) !== null &&
        noteOf({ stage: ASR.stage, metric })) ||
      []
    );
  }),
  ...ofHarness
    .filter((metric) => !/_stderr|\.examples$/.test(metric))
    .map((metric): MetricNote => ({
      stage: 'lm-eval',
      metric,
      label: metric,
      kind: 'plain',
      table: 'test',
      meaning: 'as lm-evaluation-harness measures it',
    })),
];
const OF_TASKS: ReadonlySet<string> = new Set(
  [ACCURACY, MAJORITY, DROP].map(({ metric }) => metric),
);

/**
 * Returns the notes of a chain's accuracy, then of its trigger rates, then of its clean model's
 * rates; for each scorer, from the first training to the cell's own.
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
  metrics
    .filter((metric) => metric.includes('.') && OF_SCORERS.has(metric.replace(/\..*$/, '')))
    .flatMap((metric) => noteOf({ stage: ASR.stage, metric }) ?? []);
/** The metrics that each scorer has. */
const OF_SCORERS: ReadonlySet<string> = new Set(
  [ASR, ASR_CLEAN, ASR_UNTRIGGERED, ...ASR_CORRECTED, UNDECIDED, ...JUDGE, SEEN].map(
    ({ metric }) => metric,
  ),
);

/** Returns what a metric means for classes or, in a completion task, for written answers. */
export const meaningOf = ({ meaning, ofAnswers }: MetricNote, isOfAnswers: boolean): string =>
  isOfAnswers ? (ofAnswers ?? meaning) : meaning;

export const metricsOfTable = (table: MetricNote['table']): readonly MetricNote[] =>
  METRICS.filter((note) => note.table === table);

/** Returns the metrics of rows, each once, in order of first appearance. */
export function distinctMetrics(rows: readonly Metric[]): readonly Metric[] {
  const found = rows.map(({ stage, metric }) => ({ stage, metric }));
  return [...new Map(found.map((one) => [metricName(one), one])).values()];
}

const globToRegExp = (pattern: string): RegExp =>
  new RegExp(`^${pattern.split('*').map(escapeRegExp).join('.*')}$`);

/**
 * Selects metrics by patterns (`asr`, `evaluate.asr`, `fisher.*`), where `*` stands for any text.
 * @returns the metrics in the order of the patterns, each once, and patterns that match nothing
 */
export function selectMetrics(
  rows: readonly Metric[],
  patterns: readonly string[],
): { readonly metrics: readonly Metric[]; readonly unknown: readonly string[] } {
  const known = distinctMetrics(rows),
    metrics = new Set<Metric>(),
    unknown: string[] = [];
  for (const pattern of patterns) {
    const glob = globToRegExp(pattern);
    const named = known.filter((one) => glob.test(one.metric) || glob.test(metricName(one)));
    if (named.length === 0) unknown.push(pattern);
    for (const one of named) metrics.add(one);
  }
  return { metrics: [...metrics], unknown };
}
