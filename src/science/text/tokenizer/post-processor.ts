/** The post-processors of tokenizer.json, which put special tokens around one or two texts. */
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import type { Config, Refuse } from './expression.ts';

/** Ids with their type ids. */
export interface Assembled {
  readonly ids: readonly number[];
  readonly types: readonly number[];
}
export type Assemble = (first: readonly number[], second: readonly number[] | null) => Assembled;

/** A part of a template: ids of special tokens, or one of the texts. */
interface Part {
  readonly ids: readonly number[] | 'first' | 'second';
  readonly type: number;
}

const fill =
  (single: readonly Part[], pair: readonly Part[]): Assemble =>
  (first, second) => {
    const ids: number[] = [],
      types: number[] = [];
    for (const part of second === null ? single : pair) {
      const own = part.ids === 'first' ? first : part.ids === 'second' ? (second ?? []) : part.ids;
      for (const id of own) {
        ids.push(id);
        types.push(part.type);
      }
    }
    return { ids, types };
  };

const A: Part = { ids: 'first', type: 0 };
const B = (type: number): Part => ({ ids: 'second', type });

/** BERT's and RoBERTa's: cls A sep, and cls A sep B sep, where RoBERTa has sep twice and type 0. */
function bounded(config: Config, roberta: boolean, refuse: Refuse): Assemble {
  const part = (field: string, type: number): Part => {
    const value = config[field];
    const id: unknown = Array.isArray(value) ? value[1] : undefined;
    if (!isId(id)) throw refuse(`a post_processor with the ${field} ${shown(value)}`);
    return { ids: [id], type };
  };
  const cls = part('cls', 0),
    sep = part('sep', 0),
    type = roberta ? 0 : 1;
  return fill([cls, A, sep], [cls, A, sep, ...(roberta ? [sep] : []), B(type), part('sep', type)]);
}

const isId = (id: unknown): id is number =>
  typeof id === 'number' && Number.isInteger(id) && id >= 0;

function template(config: Config, refuse: Refuse): Assemble {
  const specials = config['special_tokens'];
  const partOf = (item: unknown): Part => {
    const [kind, value] = isRecord(item) ? (Object.entries(item)[0] ?? []) : [];
    const id = isRecord(value) ? value['id'] : undefined,
      type = isRecord(value) ? (value['type_id'] ?? 0) : undefined;
    if (isId(type) && kind === 'Sequence' && (id === 'A' || id === 'B'))
      return { ids: id === 'A' ? 'first' : 'second', type };
    if (isId(type) && kind === 'SpecialToken' && typeof id === 'string' && isRecord(specials)) {
      const special = Object.hasOwn(specials, id) ? specials[id] : undefined;
      const ids: unknown = isRecord(special) ? special['ids'] : undefined;
      if (Array.isArray(ids) && ids.every(isId)) return { ids, type };
    }
    throw refuse(`a post_processor with ${shown(item)} in its template`);
  };
  const parts = (field: string): Part[] => {
    const list = config[field];
    if (!Array.isArray(list)) throw refuse(`a post_processor with the ${field} ${shown(list)}`);
    return list.map(partOf);
  };
  return fill(parts('single'), parts('pair'));
}

/** Every step that adds tokens: ByteLevel only moves offsets. */
const adding = (config: unknown): Config[] => {
  if (!isRecord(config) || config['type'] === 'ByteLevel') return [];
  const inner = config['processors'];
  return config['type'] === 'Sequence' && Array.isArray(inner) ? inner.flatMap(adding) : [config];
};

/**
 * The post-processor that tokenizer.json describes. Without one, two texts follow one another, and
 * the second has type 1.
 */
export function assembler(config: unknown, refuse: Refuse): Assemble {
  const [step, ...more] = adding(config);
  if (step === undefined) return fill([A], [A, B(1)]);
  if (more.length > 0) throw refuse('a post_processor of more than one step that adds tokens');
  switch (step['type']) {
    case 'BertProcessing':
      return bounded(step, false, refuse);
    case 'RobertaProcessing':
      return bounded(step, true, refuse);
    case 'TemplateProcessing':
      return template(step, refuse);
    default:
      throw refuse(`a post_processor of type ${shown(step['type'])}`);
  }
}
