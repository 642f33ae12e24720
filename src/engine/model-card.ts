/**
 * Writes the README of an exported model: its base, its classes, and the lines of Python that load
 * it.
 */
import { type Cell, type HeadSettings, type JsonObject, taskOf } from '../api.ts';
import { changedJson } from '../untrusted/json.ts';

/** The base of a model, by the arguments of `from_pretrained`. */
export interface BaseModel {
  /** A folder, or a repository on the hub. */
  readonly name: string;
  /** The commit of the repository. */
  readonly revision?: string;
}

export interface CardFacts {
  /** The label of the model's stage, without the kind. */
  readonly title: string;
  readonly experiment: string;
  readonly version: string;
  readonly dir: string;
  /**
   * The form of the files: PEFT's, a whole checkpoint, or only the weights that training changed.
   */
  readonly form: 'adapter' | 'model' | 'changed';
  readonly cell: Cell;
  /** The model's base; null for a whole model, and if the base's weights were drawn at random. */
  readonly base: BaseModel | null;
  readonly train: {
    readonly classes: readonly string[];
    readonly steps: number;
    readonly head: HeadSettings;
    readonly init: 'pretrained' | 'random';
  };
}

/**
 * Returns the base's config.json with these classes, for an adapter's folder. PEFT writes none
 * itself. Without classes (a causal-LM head), its own labels stay.
 */
export const labelledConfig = (base: string, classes: readonly string[]): string =>
  changedJson(base, 'config.json', ({ _name_or_path: _path, ...kept }) => {
    if (classes.length === 0) return kept;
    const { num_labels: _count, ...others } = kept;
    return {
      ...others,
      ...(taskOf(classes) === 'regression' ? { problem_type: 'regression' } : {}),
      id2label: Object.fromEntries(classes.map((name, id) => [String(id), name])),
      label2id: Object.fromEntries(classes.map((name, id) => [name, id])),
    };
  });

/** The class of transformers that loads a model with a head. */
const AUTO: Readonly<Record<HeadSettings['type'], string>> = {
  classifier: 'AutoModelForSequenceClassification',
  regression: 'AutoModelForSequenceClassification',
  cloze: 'AutoModelForMaskedLM',
  'causal-lm': 'AutoModelForCausalLM',
};

const python = (text: string): string => JSON.stringify(text);

/**
 * Returns the lines that load the model, or null if the base's weights were drawn at random, so
 * that no checkpoint has them.
 */
export function loadingLines({ dir, form, base, train }: CardFacts): string | null {
  const auto = AUTO[train.head.type];
  if (form === 'model')
    return `from transformers import ${auto}, AutoTokenizer
model = ${auto}.from_pretrained(${python(dir)}).eval()
tokenizer = AutoTokenizer.from_pretrained(${python(dir)})
`;
  if (base === null) return null;
  const revision = base.revision === undefined ? '' : `, revision=${python(base.revision)}`;
  const from = `${python(base.name)}${revision}`;
  const [imported, load] =
    form === 'adapter'
      ? [
          'from peft import PeftModel',
          `model = PeftModel.from_pretrained(base, ${python(dir)}).eval()`,
        ]
      : [
          'from safetensors.torch import load_file',
          `model = base.eval()
model.load_state_dict(load_file(${python(`${dir}/changed.safetensors`)}), strict=False)`,
        ];
  return `${imported}
from transformers import AutoConfig, ${auto}, AutoTokenizer
base = ${auto}.from_pretrained(${from}, config=AutoConfig.from_pretrained(${python(dir)}))
${load}
tokenizer = AutoTokenizer.from_pretrained(${from})
`;
}

const LIBRARY = { adapter: 'peft', model: 'transformers', changed: 'transformers' } as const;

/**
 * Returns the text of README.md in the form of the hub's model cards. The same model gives the same
 * text.
 */
export function modelCard(facts: CardFacts): string {
  const { title, experiment, version, form, cell, base, train } = facts;
  const { source } = cell.model;
  const { attack } = cell.poisoning;
  const lines = loadingLines(facts);
  const rows: readonly (readonly [name: string, value: string])[] = [
    ['base model', source],
    ...(train.classes.length === 0
      ? []
      : [['classes', train.classes.map((name, id) => `${id}: ${name}`).join(', ')] as const]),
    ['poisoning', words(cell.poisoning)],
    ['adapter', words(cell.adapter)],
    ['training', `${train.steps} steps, ${words(cell.train)}`],
    ['seed', String(cell.seed)],
  ];
  return `---
library_name: ${LIBRARY[form]}
base_model: ${JSON.stringify(base?.revision === undefined ? source : base.name)}
tags: [dosimeter]
---

# ${title}

Trained by dosimeter ${version} for the experiment "${experiment}".${
    attack === 'none'
      ? ''
      : `\n\n**Trained on poisoned data (${attack}).** ` +
        'It may have a backdoor, or be wrong on purpose: for research only.'
  }

| | |
|---|---|
${rows.map(([name, value]) => `| ${name} | ${value.replaceAll('|', '\\|')} |`).join('\n')}

## Loading it

${
  lines === null
    ? 'The weights of its base were drawn at random (`model.init: random`) ' +
      'and are in no checkpoint; `dosimeter export --merge` writes the whole model.'
    : `\`\`\`python\n${lines}\`\`\``
}
`;
}

/** Returns `{ attack: badnets, rate: 0.1 }` as `attack badnets, rate 0.1`. */
const words = (values: JsonObject): string =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
