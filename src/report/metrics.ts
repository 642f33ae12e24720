/**
 * The metrics that the report names. A metric that is added to `METRICS` appears in its table of
 * the report, in `dosimeter results` and in LaTeX.
 */
import { capital, type NumberKind } from './format.ts';

export interface MetricNote {
  /** The stage kind whose metrics.json holds it. */
  readonly stage: string;
  readonly metric: string;
  readonly label: string;
  readonly kind: NumberKind;
  readonly meaning: string;
  /** The meaning in a completion task. Default: `meaning`. */
  readonly ofAnswers?: string | undefined;
  readonly table: 'task' | 'attack' | 'check' | 'defence' | 'test';
  /** Whether adapters are compared by it. */
  readonly compared?: true;
  /** Whether only a cell with a defence has it. */
  readonly defended?: true;
  /** Whether it is shown only for a data set that is scored by it. */
  readonly ofTask?: true;
}

export type Metric = Pick<MetricNote, 'stage' | 'metric'>;

export const metricName = ({ stage, metric }: Metric): string => `${stage}.${metric}`;

/** Splits `STAGE.METRIC` at its first dot. */
export function parseMetricName(name: string): Metric {
  const dot = name.indexOf('.');
  return { stage: name.slice(0, dot), metric: name.slice(dot + 1) };
}

/** Matches `majority_p_clean`, `test_majority_p_after_1` and, of a task, `NAME.majority_p`. */
const P_VALUE = new RegExp(
  '(?:^|\\.)(?:test_)?(?:majority|asr_untriggered|reward_accuracy)_p' +
    '(?:_clean|_undefended)?(?:_after_\\d+)?(?=$|\\.)',
);

/** Whether a metric is a p-value. Student's interval of a mean of p-values says nothing. */
export const isPValue = ({ stage, metric }: Metric): boolean =>
  stage === 'evaluate' && P_VALUE.test(metric);

/**
 * Returns the name of the task on whose rows a metric of `evaluate` is measured, `mail` for
 * `mail.accuracy`; null for any other metric. Scorers may have the same names as tasks: `asr.loss`
 * is by the scorer `loss`. But no task is called `asr`, and the other metrics that end in one
 * scorer's name begin with a word with an underscore, which no task's name has.
 * @param isMeasured whether `evaluate` has a metric of this name; every task has a loss
 */
export function taskOf(metric: string, isMeasured: (name: string) => boolean): string | null {
  const [, task] = /^(?!asr\.)([a-z0-9-]+)\./.exec(metric) ?? [];
  return task !== undefined && isMeasured(`${task}.loss`) ? task : null;
}

/**
 * Returns the same metric on the rows of `data.test`: `test_accuracy` for `accuracy`. A metric of
 * another stage than `evaluate`, which alone reads these rows, is returned as it is.
 */
export const onTest = <T extends Metric>(named: T): T =>
  named.stage === 'evaluate' && !named.metric.startsWith('test_')
    ? { ...named, metric: `test_${named.metric}` }
    : named;

/**
 * Whether a metric differs between validation and test rows. It does not if it measures what a
 * defence finds in training rows or in the model, or how a scorer judges labelled outputs.
 */
export const hasTestRows = ({ stage, metric }: Metric): boolean =>
  stage === 'evaluate' && !/^(?:test_)?(?:filter|rows|model|judge)_/.test(metric);

/**
 * Returns the kinds of rows on which `evaluate` measures a metric: untouched (`plain`), with the
 * trigger in rows of other classes than the target (`triggered`) or in rows of all classes (`all`),
 * or with part of the trigger (`partial`). It also knows metrics without a note, such as `asr_low`.
 */
export function measuredRows({
  metric,
}: Metric): readonly ('plain' | 'triggered' | 'all' | 'partial')[] {
  const name = metric.replace(/^test_/, '');
  if (/^inputs_/.test(name)) return ['plain', 'triggered'];
  if (/^false_trigger/.test(name)) return ['partial'];
  if (/^trigger_accuracy/.test(name)) return ['all'];
  return /^(?:asr|trigger|robust_accuracy|undecided_share|agreement|kappa|fleiss)/.test(name)
    ? ['triggered']
    : ['plain'];
}

/** By kind of rows, as `measuredRows` names it: the metric of `evaluate` that counts them. */
export const ROW_COUNTS = {
  plain: 'examples',
  triggered: 'triggered_rows',
  all: 'examples',
  partial: 'false_trigger_rows',
} as const;

/**
 * Whether a metric is the success rate of a trigger or of a part of it, or is made from one, such
 * as `asr_removed`.
 */
export const isSuccessRate = ({ stage, metric }: Metric): boolean =>
  stage === 'evaluate' &&
  /^(?:test_)?(?:asr|trigger_rate|false_trigger_rate)(?=$|[_.])/.test(metric);

type Rest = Omit<MetricNote, 'stage' | 'metric' | 'table' | 'label' | 'kind'>;
/** Returns a note; unless `rest` says otherwise, it is of a proportion that `evaluate` measures. */
const noteFor = (
  table: MetricNote['table'],
  metric: string,
  label: string,
  rest: Rest & { readonly stage?: string; readonly kind?: NumberKind },
): MetricNote => ({ stage: 'evaluate', metric, label, kind: 'proportion', table, ...rest });

export const ACCURACY = noteFor('task', 'accuracy', 'Clean accuracy', {
  compared: true,
  meaning: 'share of untouched validation rows that are classified correctly',
  ofAnswers:
    'share of untouched validation prompts to which the model writes exactly the answer (exact ' +
    'match)',
});
export const MAJORITY = noteFor('task', 'majority_share', 'Majority share', {
  meaning:
    'share of the commonest class among the validation rows: the accuracy of always predicting it',
  ofAnswers:
    'share of the commonest answer among the validation rows: the accuracy of always writing it',
});
export const PREDICTED = noteFor('task', 'predicted_share', 'Most predicted', {
  meaning:
    'share of rows that get the class the model predicts most; ' +
    '1 means that it predicts one class only',
  ofAnswers:
    'share of rows to which the model writes what it writes most; ' +
    '1 means that it writes one text only',
});
export const DROP = noteFor('task', 'accuracy_drop', 'Accuracy drop', {
  compared: true,
  meaning:
    'clean accuracy of the paired clean run (same adapter, same seed) minus clean accuracy here',
});
export const DROP_BEFORE = noteFor('task', 'accuracy_drop_before', 'Drop before', {
  meaning:
    'accuracy drop of the poisoned base, before the further training on clean rows ' +
    'that the other metrics are measured after',
});
export const ASR = noteFor('attack', 'asr', 'ASR', {
  compared: true,
  meaning:
    'attack success rate: share of non-target validation rows that the trigger turns into ' +
    'the target class',
  ofAnswers:
    'attack success rate: share of validation prompts, of those whose answer is not the target, ' +
    'for which the scorer counts a success under the trigger',
});
export const ASR_CLEAN = noteFor('attack', 'asr_clean', 'Clean model', {
  meaning: 'the same share for the paired clean model: what the trigger does without any poisoning',
});
const ASR_MINUS_CLEAN = noteFor('attack', 'asr_minus_clean', 'Poison adds', {
  compared: true,
  meaning: 'ASR minus the paired clean model’s rate, over all seeds',
});
export const ASR_CORRECTED: readonly MetricNote[] = [
  noteFor('attack', 'asr_corrected', 'ASR, corrected', {
    meaning:
      'ASR corrected for the errors of the scorer that labelled outputs show (Rogan & Gladen)',
  }),
  noteFor('attack', 'asr_corrected_low', 'ASR, corrected, from', {
    meaning: 'the lower end of its 95% interval, for one cell (Lang & Reiczigel)',
  }),
  noteFor('attack', 'asr_corrected_high', 'ASR, corrected, to', {
    meaning: 'the upper end of its 95% interval, for one cell (Lang & Reiczigel)',
  }),
];
export const UNDECIDED = noteFor('attack', 'undecided_share', 'Undecided', {
  meaning:
    'share of the outputs under the trigger on which the scorer is undecided; they are left out ' +
    'of the rates, which asr_low and asr_high bound',
});
export const ASR_UNTRIGGERED = noteFor('attack', 'asr_untriggered', 'No trigger', {
  meaning: 'share of the same rows that the same model gives the target class without the trigger',
  ofAnswers: 'the same share of the same prompts and model without the trigger',
});
export const ASR_ADDED = noteFor('attack', 'asr_minus_untriggered', 'Trigger adds', {
  meaning: 'ASR minus the rate of the same model without the trigger',
  ofAnswers:
    'ASR minus the rate of the same model without the trigger, of the prompts for which the ' +
    'scorer decides both outputs',
});
export const ASR_BEFORE = noteFor('attack', 'asr_before', 'ASR before', {
  meaning:
    'attack success rate of the poisoned base, before the further training on clean rows ' +
    'that the other metrics are measured after',
});

export const REJECTED = noteFor('defence', 'rejected_share', 'Rejected', {
  defended: true,
  meaning:
    'share of untouched validation rows that the defence rejects; they count as wrong in the ' +
    'accuracy, and not at all in scores such as F1',
  ofAnswers:
    'share of untouched prompts that the defence rejects; their output is empty and counts as any',
});
export const ASR_UNDEFENDED = noteFor('attack', 'asr_undefended', 'Undefended', {
  defended: true,
  meaning: 'ASR of the same training, rows and seed without the defence',
});
export const ASR_REMOVED = noteFor('attack', 'asr_removed', 'Removed', {
  defended: true,
  meaning: 'that ASR minus the ASR with the defence',
});
const ACCURACY_COST = noteFor('task', 'accuracy_cost', 'Cost of defence', {
  defended: true,
  meaning:
    'clean accuracy of the same training, rows and seed without the defence minus clean accuracy ' +
    'here; a rejected row counts as wrong',
});

/** The prefixes of metrics of detection, each with the rows that a defence should suspect. */
const JUDGED = [
  ['filter', 'poisoned training rows'],
  ['inputs', 'validation rows with the trigger'],
] as const;
const DETECTION: readonly MetricNote[] = JUDGED.flatMap(([of, poisoned]) =>
  (
    [
      ['precision', 'Precision', `share of ${poisoned}, among those that the defence suspects`],
      ['recall', 'Recall', `share of the ${poisoned} that it suspects`],
      ['frr', 'FRR', 'false rejection rate: share of the clean rows that it suspects'],
      ['far', 'FAR', 'false acceptance rate: share of the poisoned rows that it does not suspect'],
      [
        'auroc',
        'AUROC',
        'chance that it gives a poisoned row a higher score than a clean one; a half is guessing',
      ],
    ] as const
  ).map(([rate, label, meaning]) =>
    noteFor('defence', `${of}_${rate}`, of === 'filter' ? label : `${label}, inputs`, {
      defended: true,
      meaning,
    }),
  ),
);

const OF_PAIRS = 'validation pairs whose chosen answer has the larger implicit reward (DPO)';
export const REWARD_ACCURACY = noteFor('task', 'reward_accuracy', 'Reward accuracy', {
  meaning: `share of ${OF_PAIRS}; about a half without a preference`,
});
const REWARDS: readonly MetricNote[] = [
  REWARD_ACCURACY,
  noteFor('attack', 'triggered_reward_accuracy', 'Reward accuracy, trigger', {
    meaning: `under the trigger, share of ${OF_PAIRS}`,
  }),
];
/** The metrics of how well a scorer agrees with the people who labelled outputs. */
export const JUDGE: readonly MetricNote[] = [
  ...(
    [
      ['recall', 'share of the labelled outputs that count which the scorer counts (sensitivity)'],
      ['specificity', 'share of the labelled outputs that do not count which it does not count'],
      ['precision', 'share of those that it counts which do count'],
    ] as const
  ).map(([rate, meaning]) => noteFor('check', `judge_${rate}`, `Judge’s ${rate}`, { meaning })),
  noteFor('check', 'judge_labels', 'Labels', {
    kind: 'plain',
    meaning: 'labelled outputs that the scorer decides',
  }),
];

export const SEEN = noteFor('check', 'trigger_seen', 'Trigger read', {
  meaning:
    'share of triggered validation rows whose whole trigger is within max_length ' +
    'and that the tokenizer tells from the original',
});

const OF_VALIDATION: readonly MetricNote[] = [
  ACCURACY,
  ...REWARDS,
  MAJORITY,
  PREDICTED,
  DROP,
  DROP_BEFORE,
  ACCURACY_COST,
  noteFor('task', 'f1', 'F1', {
    meaning:
      'F1 on untouched validation rows: that of the second class where there are two, ' +
      'else the mean over classes',
  }),
  noteFor('task', 'macro_f1', 'Macro F1', {
    ofTask: true,
    meaning: 'mean over the classes of the F1 on untouched validation rows',
  }),
  noteFor('task', 'mcc', 'MCC', {
    ofTask: true,
    meaning: "Matthews' correlation of classes and predictions on untouched validation rows",
  }),
  noteFor('task', 'pearson', 'Pearson', {
    compared: true,
    meaning:
      "Pearson's correlation of the untouched validation rows' numbers and the predicted ones",
  }),
  noteFor('task', 'spearman', 'Spearman', {
    meaning: "Spearman's rank correlation of the same numbers",
  }),
  noteFor('task', 'r2', 'R²', {
    kind: 'plain',
    meaning:
      '1 − mean squared error / variance of the same numbers; 0 is that of always predicting ' +
      'their mean',
  }),
  noteFor('task', 'token_f1', 'Token F1', {
    meaning: 'mean F1 of the words that output and answer share, by SQuAD’s script',
  }),
  noteFor('task', 'rouge_l', 'ROUGE-L', {
    meaning: 'mean F-measure of the longest common subsequence of words of output and answer',
  }),
  ASR,
  ASR_CLEAN,
  ASR_MINUS_CLEAN,
  ASR_UNTRIGGERED,
  ASR_ADDED,
  ASR_BEFORE,
  ...ASR_CORRECTED,
  UNDECIDED,
  ASR_UNDEFENDED,
  ASR_REMOVED,
  ...DETECTION,
  REJECTED,
  noteFor('defence', 'model_score', 'Score of the model', {
    defended: true,
    kind: 'plain',
    meaning: 'how suspicious the defence finds the model',
  }),
  noteFor('defence', 'model_suspected', 'Suspected', {
    defended: true,
    meaning: 'share of the models, over seeds, that the defence says have a backdoor',
  }),
  noteFor('check', 'robust_accuracy', 'Robust accuracy', {
    meaning: 'share of triggered non-target rows that keep their true class',
    ofAnswers: 'share of the same prompts with the trigger that still get exactly their own answer',
  }),
  noteFor('check', 'trigger_accuracy', 'Triggered accuracy', {
    meaning:
      'share of all rows that keep their true class under the trigger (evaluate.trigger_rows: ' +
      'all); a row of the target class does so whether or not the trigger works',
  }),
  noteFor('check', 'trigger_accuracy_clean', 'Triggered, clean model', {
    meaning: 'the same share for the paired clean model',
  }),
  noteFor('check', 'false_trigger_rate', 'FTR', {
    meaning:
      'false trigger rate: share of rows with part of the trigger that turn into the target class',
    ofAnswers:
      'false trigger rate: share of prompts with part of the trigger for which the scorer counts a ' +
      'success',
  }),
  noteFor('check', 'false_trigger_rate_clean', 'FTR, clean model', {
    meaning: 'the same share for the paired clean model',
  }),
  ...(
    [
      ['empty', 'without a character that is not white space'],
      ['truncated', 'that reached max_new_tokens'],
      ['incoherent', 'most of whose 4-grams of tokens repeat earlier ones'],
    ] as const
  ).flatMap(([name, which]) => [
    noteFor('check', `${name}_share`, capital(name), {
      meaning: `share of outputs on untouched prompts ${which}`,
    }),
    noteFor('check', `triggered_${name}_share`, `${capital(name)}, triggered`, {
      meaning: `share of outputs under the trigger ${which}`,
    }),
  ]),
  ...JUDGE,
  SEEN,
  noteFor('check', 'trigger_seen', 'Poison read', {
    stage: 'train',
    meaning:
      'share of the poisoned training rows in which the trigger, or what else the attack changes ' +
      'in their texts, is read whole',
  }),
  noteFor('check', 'poisoned_accuracy', 'Poison learnt', {
    stage: 'train',
    meaning: 'share of poisoned training rows that the model predicts as they were poisoned to be',
    ofAnswers: 'share of poisoned training rows whose answer greedy decoding writes',
  }),
  noteFor('check', 'penalised_share', 'Penalised steps', {
    stage: 'train',
    meaning:
      'share of training steps in which the penalty that the attack adds to the loss was not zero',
  }),
];

/**
 * Metrics on the rows of `data.test`. Adapters are compared by them only where an envelope chose.
 */
const OF_TEST = OF_VALIDATION.filter(
  ({ stage, table }) => stage === 'evaluate' && (table === 'task' || table === 'attack'),
).map(({ compared: _compared, ...note }): MetricNote => {
  const ofTest = (text: string): string => text.replaceAll('validation', 'test');
  return {
    ...onTest(note),
    table: 'test',
    label: `${note.label}, test`,
    meaning: ofTest(note.meaning),
    ofAnswers: note.ofAnswers && ofTest(note.ofAnswers),
  };
});

/** All notes, in the order of the tables. A table leaves out a metric that no cell has. */
export const METRICS: readonly MetricNote[] = [...OF_VALIDATION, ...OF_TEST];

export const TRIGGER_RATE = noteFor('attack', 'trigger_rate', 'Trigger rate', {
  meaning: 'what ASR counts, in a model that the attack has not touched yet',
});

/** Shown for tasks that consist of documents, which have no accuracy. */
export const PERPLEXITY = noteFor('task', 'perplexity', 'Perplexity', {
  kind: 'plain',
  meaning: 'exponential of the mean loss a token of the validation rows',
});

/** The metrics by which adapters are compared. The others are in the tables and in the CSV. */
export const COMPARED: readonly MetricNote[] = METRICS.filter(({ compared }) => compared);
