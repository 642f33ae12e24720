/** What an exported model says of itself: its base, its classes, and the lines of Python that load it. */
import type { Cell, HeadSettings, JsonObject } from '../api.ts';

/** What `from_pretrained` is given for a base. */
export interface BaseModel {
  /** A folder, or a repository of the hub. */
  readonly name: string;
  /** Of the hub: the commit. */
  readonly revision?: string;
}

export interface CardFacts {
  /** As the stages of a run are named. */
  readonly title: string;
  readonly experiment: string;
  readonly version: string;
  readonly dir: string;
  /** Which files there are: PEFT's, a whole checkpoint's, or those weights alone that training changed. */
  readonly form: 'adapter' | 'model' | 'changed';
  readonly cell: Cell;
  /** Null for a whole model, and where the base's weights were drawn. */
  readonly base: BaseModel | null;
  readonly train: {
    readonly classes: readonly string[];
    readonly steps: number;
    readonly head: HeadSettings;
    readonly init: 'pretrained' | 'random';
  };
}

/** A base's config.json with these classes, as transformers names them: an adapter's folder has none of its own. */
export function labelledConfig(base: JsonObject, classes: readonly string[]): string {
  const { _name_or_path: _path, num_labels: _count, ...kept } = base;
  const config = {
    ...kept,
    id2label: Object.fromEntries(classes.map((name, id) => [String(id), name])),
    label2id: Object.fromEntries(classes.map((name, id) => [name, id])),
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

const python = (text: string): string => JSON.stringify(text);

/** The lines that load it; null where the base's weights were drawn and stand in no checkpoint. */
export function loadingLines({ dir, form, base, train }: CardFacts): string | null {
  const auto =
    train.head.type === 'cloze' ? 'AutoModelForMaskedLM' : 'AutoModelForSequenceClassification';
  if (form === 'model')
    return `from transformers import ${auto}, AutoTokenizer
model = ${auto}.from_pretrained(${python(dir)}).eval()
tokenizer = AutoTokenizer.from_pretrained(${python(dir)})
`;
  if (base === null) return null;
  const from = `${python(base.name)}${base.revision === undefined ? '' : `, revision=${python(base.revision)}`}`;
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

/** README.md, in the form of the hub's model cards. The same model gives the same text. */
export function modelCard(facts: CardFacts): string {
  const { title, experiment, version, form, cell, base, train } = facts;
  const { source } = cell.model;
  const { attack } = cell.poisoning;
  const lines = loadingLines(facts);
  const rows = [
    ['base model', source],
    ['classes', train.classes.map((name, id) => `${id}: ${name}`).join(', ')],
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
      : `\n\n**Trained on poisoned data (${attack}).** It may hold a backdoor, or be wrong on purpose: for research alone.`
  }

| | |
|---|---|
${rows.map(([name, value]) => `| ${name} | ${value!.replaceAll('|', '\\|')} |`).join('\n')}

## To load it

${
  lines === null
    ? 'The weights of its base were drawn at random (`model.init: random`) and stand in no checkpoint; `dosimeter export --merge` writes the whole model.'
    : `\`\`\`python\n${lines}\`\`\``
}
`;
}

/** `{ attack: badnets, rate: 0.1 }` as `attack badnets, rate 0.1`. */
const words = (values: JsonObject): string =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
