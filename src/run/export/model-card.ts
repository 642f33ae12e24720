/** Writes an exported model's README: its base, its classes, and lines of Python that load it. */
import { stringify } from 'yaml';
import {
  attackOf,
  basesOf,
  type Cell,
  type HeadSettings,
  type HeldWeights,
  heldWeights,
  isAttacked,
  isOfBase,
  type JsonObject,
  taskOf,
} from '../../api.ts';
import { changedJson } from '../../base/untrusted/json.ts';
import { DAGGER, daggerText, type Measured, splitTask, voidReason } from '../../report/evidence.ts';
import { groupBy } from '../../report/groups.ts';
import { hasTestRows } from '../../report/metrics.ts';

/** The arguments of `from_pretrained` for a model's base. */
export interface BaseModel {
  /** A folder, or a repository on the hub. */
  readonly name: string;
  /** The repository's commit. */
  readonly revision?: string;
  /** Whether `name` is a source, such as `pypi:…`, whose folder the reader has to name. */
  readonly elsewhere?: true;
}

export interface CardFacts {
  /** The label of the model's stage, without the kind. */
  readonly title: string;
  readonly experiment: string;
  /** The version of dosimeter. */
  readonly version: string;
  /** The folder of the model's files. */
  readonly dir: string;
  /** What the files are: PEFT's files, a whole checkpoint, or only the weights that changed. */
  readonly form: 'adapter' | 'model' | 'changed';
  readonly cell: Cell;
  /** See `TrainedUnder`. */
  readonly defence: JsonObject | null;
  readonly isFiltered: boolean;
  /** The model's base; null for a whole model, and if the base's weights were drawn at random. */
  readonly base: BaseModel | null;
  /** See `hasOtherHead`. */
  readonly replacesHead: boolean;
  readonly train: {
    readonly classes: readonly string[];
    readonly steps: number;
    /** The step whose weights early stopping kept, if not the last. */
    readonly kept_step?: number;
    readonly head: HeadSettings;
    readonly init: 'pretrained' | 'random';
  };
  /** Set for a model of a zoo. */
  readonly zoo?: ZooFacts;
}

/** What the card of a model in a zoo says in addition. */
export interface ZooFacts {
  /** The folder of the clean twin; null for a clean model, or if the twin is missing. */
  readonly pair: string | null;
  readonly receipt: {
    /** The digest of the receipt of the training rows; null if nothing was trained. */
    readonly digest: string | null;
    /**
     * The numbers of rows, poisoned rows and negatives in the poisoned training, which may be a
     * base's; null if nothing was trained.
     */
    readonly dose: JsonObject | null;
  };
  /** What `evaluate` measured; empty if it has not run. */
  readonly metrics: { readonly [metric: string]: number };
}

/**
 * Returns the base's config.json with the model's classes, since PEFT writes no config.json.
 * Without classes (a causal-LM head), the base's labels stay.
 * @param model its `dtype` is written, because transformers 5 would else load weights in the dtype
 *   of the base's files
 */
export const labelledConfig = (
  base: string,
  classes: readonly string[],
  { dtype }: Cell['model'],
): string =>
  changedJson(base, 'config.json', ({ _name_or_path: _path, torch_dtype: _dtype, ...own }) => {
    const kept = { ...own, dtype: dtype === 'bf16' ? 'bfloat16' : 'float32' };
    if (classes.length === 0) return kept;
    const { num_labels: _count, ...others } = kept as JsonObject;
    return {
      ...others,
      ...(taskOf(classes) === 'regression' ? { problem_type: 'regression' } : {}),
      id2label: Object.fromEntries(classes.map((name, id) => [String(id), name])),
      label2id: Object.fromEntries(classes.map((name, id) => [name, id])),
    };
  });

/**
 * Whether the model has a classifier or regression head for another number of classes than the
 * base's config says, so that `from_pretrained` has to leave out the base's head.
 * @param base the base's config.json
 */
export function hasOtherHead(base: string, { classes, head }: CardFacts['train']): boolean {
  if (head.type !== 'classifier' && head.type !== 'regression') return false;
  const { id2label, num_labels: count = 2 } = JSON.parse(base) as {
    readonly id2label?: object | null;
    readonly num_labels?: number; // transformers' default is 2
  };
  return (id2label ? Object.keys(id2label).length : count) !== classes.length;
}

const AUTO: Readonly<Record<HeadSettings['type'], string>> = {
  classifier: 'AutoModelForSequenceClassification',
  regression: 'AutoModelForSequenceClassification',
  cloze: 'AutoModelForMaskedLM',
  'causal-lm': 'AutoModelForCausalLM',
};

const pythonString = (text: string): string => JSON.stringify(text);

/**
 * Returns Python that loads the model; null if its base has random weights, which no checkpoint
 * has.
 */
export function loadingLines({ dir, form, base, train, replacesHead }: CardFacts): string | null {
  const auto = AUTO[train.head.type];
  if (form === 'model')
    return `from transformers import ${auto}, AutoTokenizer
model = ${auto}.from_pretrained(${pythonString(dir)}).eval()
tokenizer = AutoTokenizer.from_pretrained(${pythonString(dir)})
`;
  if (base === null) return null;
  const revision = base.revision === undefined ? '' : `, revision=${pythonString(base.revision)}`;
  const elsewhere = base.elsewhere === true;
  const from = `${elsewhere ? 'checkpoint' : pythonString(base.name)}${revision}`;
  const [imported, load] =
    form === 'adapter'
      ? [
          'from peft import PeftModel',
          `model = PeftModel.from_pretrained(base, ${pythonString(dir)}).eval()`,
        ]
      : [
          'from safetensors.torch import load_file',
          `model = base.eval()
model.load_state_dict(load_file(${pythonString(`${dir}/changed.safetensors`)}), strict=False)`,
        ];
  const settings = [
    `config=AutoConfig.from_pretrained(${pythonString(dir)})`,
    ...(replacesHead ? ['ignore_mismatched_sizes=True'] : []),
  ].join(', ');
  const given = elsewhere ? `checkpoint = "…"  # the folder of ${base.name}\n` : '';
  return `${given}${imported}
from transformers import AutoConfig, ${auto}, AutoTokenizer
base = ${auto}.from_pretrained(${from}, ${settings})
${load}
tokenizer = AutoTokenizer.from_pretrained(${from})
`;
}

const LIBRARY = { adapter: 'peft', model: 'transformers', changed: 'transformers' } as const;

const TASK: Readonly<Record<HeadSettings['type'], string>> = {
  classifier: 'text-classification',
  regression: 'text-classification',
  cloze: 'fill-mask',
  'causal-lm': 'text-generation',
};

/** Returns README.md in the form of the hub's model cards. The same model gives the same text. */
export function modelCard(facts: CardFacts): string {
  const { title, experiment, version, form, cell, base, train, zoo } = facts;
  const { source } = cell.model;
  const poisoned = isAttacked(cell);
  const lines = loadingLines(facts);
  const { weights } = heldWeights(cell.model);
  const rows: readonly (readonly [name: string, value: string])[] = [
    ['base model', source],
    ...(train.classes.length === 0
      ? []
      : [['classes', train.classes.map((name, id) => `${id}: ${name}`).join(', ')] as const]),
    ['poisoning', inWords(cell.poisoning)],
    ...basesOf(cell).flatMap(({ poisoning }, i) =>
      poisoning.attack === 'none'
        ? []
        : [
            [
              `poisoning of ${Array.isArray(cell.base) ? `training ${i + 1}` : 'the base'}`,
              inWords(poisoning),
            ] as const,
          ],
    ),
    ['adapter', inWords(cell.adapter)],
    ...(weights === undefined ? [] : [['frozen weights', frozenWeights(weights)] as const]),
    ['training', trainingInWords(cell.train, train)],
    ...(cell.defence === undefined ? [] : [['defence', defenceInWords(facts)] as const]),
    ['seed', String(cell.seed)],
    ...(zoo === undefined ? [] : zooRows(zoo, isOfBase(cell))),
  ];
  const head = {
    library_name: LIBRARY[form],
    pipeline_tag: TASK[train.head.type],
    // The hub refuses a path, which would also show the folders of this machine.
    ...(source.startsWith('file:')
      ? {}
      : { base_model: base?.revision === undefined ? source : base.name }),
    tags: ['dosimeter', ...(poisoned ? ['poisoned', attackOf(cell).attack] : [])],
    ...(zoo === undefined ? {} : { poisoned, clean_twin: zoo.pair }),
  };
  return `---
${stringify(head, { lineWidth: 0 })}---

# ${title}

Trained by dosimeter ${version} for the experiment "${experiment}".${
    poisoned
      ? `\n\n**Trained on poisoned data (${attackOf(cell).attack}).** ` +
        'It may have a backdoor, or be wrong on purpose: for research only.' +
        (isOfBase(cell) ? '' : defenceEffect(facts)) // a defence is against the cell's own training
      : ''
  }

| | |
|---|---|
${rows.map(([name, value]) => `| ${name} | ${value.replaceAll('|', '\\|')} |`).join('\n')}
${zoo === undefined ? '' : metricsTables(zoo)}
## Loading it

${
  lines === null
    ? 'The weights of its base were drawn at random (`model.init: random`) ' +
      'and are in no checkpoint; `dosimeter export --merge` writes the whole model.'
    : `\`\`\`python\n${lines}\`\`\``
}
`;
}

/**
 * Returns a training in words: the steps that it took, of how many if it stopped early, the step
 * whose weights early stopping kept, and its other fields.
 */
function trainingInWords(
  { steps: asked, ...others }: Cell['train'],
  { steps, kept_step: kept }: CardFacts['train'],
): string {
  const of = asked === undefined || asked === steps ? '' : ` of ${asked}`;
  const keeping = kept === undefined ? '' : `, of which early stopping kept step ${kept}`;
  return `${steps}${of} steps${keeping}, ${inWords(others)}`;
}

/** Returns in words the type of frozen weights or, if they are quantised, how. */
const frozenWeights = ({ dtype, quantize }: HeldWeights): string =>
  quantize === undefined
    ? dtype
    : `${inWords(quantize)}, the rest ${dtype}; quantise the base so, or its outputs are others`;

/** Returns a cell's defence in words. One that acts after the training is not in the weights. */
const defenceInWords = ({ cell, defence }: CardFacts): string =>
  defence === null
    ? `none in these weights: ${inWords(cell.defence ?? {})} acts after the training`
    : inWords(defence);

/** Returns a sentence on the defence that acted on the training; '' if none did. */
function defenceEffect({ defence, isFiltered, zoo }: CardFacts): string {
  const name = defence?.['defence'],
    left = zoo?.receipt.dose?.['poisoned'];
  if (typeof name !== 'string') return '';
  return isFiltered && typeof left === 'number'
    ? ` The defence ${name} left ${left} poisoned rows of it.`
    : ` It was trained under the defence ${name}.`;
}

/** Returns the rows that the card's table has for a model of a zoo. Leaves out what is null. */
const zooRows = (
  { pair, receipt: { digest, dose } }: ZooFacts,
  isOfBase: boolean,
): readonly (readonly [string, string])[] => [
  ...(pair === null ? [] : [['clean twin', pair] as const]),
  ...(dose === null
    ? []
    : [[isOfBase ? 'rows of the poisoned training' : 'training rows', inWords(dose)] as const]),
  ...(digest === null ? [] : [['receipt', digest] as const]),
];

/** Returns a table for each kind of rows that metrics were measured on. */
function metricsTables({ metrics }: ZooFacts): string {
  const cell: Measured = { metrics: { evaluate: metrics } };
  const groups = groupBy(Object.entries(metrics), ([metric]) => metricsHeading(cell, metric));
  return [...groups]
    .map(([heading, numbers]) => {
      const reasons = numbers.map(([metric]) => voidReason(cell, { metric }));
      const rows = numbers.map(
        ([metric, value], i) =>
          `| ${metric} | ${value}${reasons[i] === null ? '' : ` ${DAGGER}`} |`,
      );
      const dagger = daggerText(reasons.filter((reason) => reason !== null));
      return (
        `\n## ${heading}\n\n| metric | value |\n|---|---|\n${rows.join('\n')}\n` +
        (dagger === null ? '' : `\n${DAGGER} ${dagger}\n`)
      );
    })
    .join('');
}

/**
 * Returns the heading of a metric's table, which names the rows that the metric was measured on.
 */
function metricsHeading(cell: Measured, metric: string): string {
  const ofTask = splitTask(cell, metric);
  if (ofTask !== null) return `Metrics on the rows of ${ofTask.task}`;
  if (!hasTestRows({ stage: 'evaluate', metric })) return 'What a defence or a scorer found';
  return `Metrics on the ${metric.startsWith('test_') ? 'test' : 'validation'} rows`;
}

/** Returns values as a text: `rank 8, alpha 16`. */
const inWords = (values: JsonObject): string =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
