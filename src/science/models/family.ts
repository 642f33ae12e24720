/** Makes an architecture from a family's description, with each field of config.json checked. */
import { UserFault } from '../../api.ts';
import { named } from '../../base/lookup.ts';
import { isRecord, shown } from '../../base/untrusted/json.ts';
import { inWords } from '../../base/untrusted/limits.ts';
import { activations } from './elementwise.ts';
import { BERT } from './families/bert-like.ts';
import type { ConfigFields, Family, Size, Transformer } from './families/description.ts';
import { describeHead, type HeadPart } from './heads.ts';
import { UNQUANTISED } from './io/stored.ts';
import { within } from './modules.ts';
import { hiddenLayers, hiddenStates, lastHiddenStates } from './transformer-forward.ts';
import { bodyLinears, bodyParameters, bodyVectors, parameterBytes } from './transformer-parts.ts';
import type { Architecture, Head } from './types.ts';

/** The most that each size may be: several times the largest models'. More is a mistake. */
const MOST = {
  vocabulary: 10_000_000,
  width: 100_000,
  heads: 10_000,
  layers: 1000,
  'wide width': 1_000_000,
  positions: 10_000_000,
  types: 100_000,
} as const satisfies Record<Size, number>;

/**
 * Returns the readers of an object in config.json. Throws UserFault if `json` is no object.
 * @param place the object's path, as in `rope_parameters.`; empty for the whole config.json
 */
function configFields(json: unknown, place = ''): ConfigFields {
  if (!isRecord(json)) throw new UserFault('config.json is not an object');
  const read = new Map<string, number>();
  const missing = (field: string): UserFault => new UserFault(`config.json lacks ${place}${field}`);
  const wrong = (field: string, value: unknown, expected: string): UserFault =>
    new UserFault(`config.json: ${place}${field} is ${shown(value)}; it must be ${expected}`);
  const number = (
    field: string,
    fallback: number | undefined,
    accept: (x: number) => boolean,
    expected: string,
  ): number => {
    const value = json[field] ?? fallback;
    if (value === undefined) throw missing(field);
    if (typeof value !== 'number' || !accept(value)) throw wrong(field, value, expected);
    return value;
  };
  const only = (field: string, accepted: readonly unknown[]): void => {
    if (json[field] === undefined || accepted.includes(json[field])) return;
    throw new UserFault(
      `config.json: ${place}${field} ${shown(json[field])} is not implemented`,
      `Implemented: ${accepted.map((x) => JSON.stringify(x)).join(', ')}.`,
    );
  };
  const choice = <T extends string>(field: string, accepted: readonly T[], fallback?: T): T => {
    only(field, fallback === undefined ? accepted : [...accepted, null]);
    const value = (json[field] ?? fallback) as T | undefined;
    if (value === undefined) throw missing(field);
    return value;
  };
  return {
    modelType: String(json['model_type']),
    count: (field, size, fallback) => {
      const most = MOST[size];
      const value = number(
        field,
        fallback,
        (x) => Number.isInteger(x) && x >= 1 && x <= most,
        `a whole number from 1 to ${most}`,
      );
      read.set(field, value);
      return value;
    },
    quotient: (total, parts) => {
      const [a, b] = [named(read, total), named(read, parts)];
      if (a % b !== 0)
        throw new UserFault(
          `config.json: ${place}${total} ${a} is not a multiple of ${place}${parts} ${b}`,
        );
      return a / b;
    },
    positive: (field, fallback) => number(field, fallback, (x) => x > 0 && x <= 1e9, 'above 0'),
    flag: (field, fallback) => {
      const value = json[field] ?? fallback;
      if (typeof value !== 'boolean') throw wrong(field, value, 'true or false');
      return value;
    },
    choice,
    activation: (field, fallback) => choice(field, [...activations.keys()], fallback),
    only,
    token: (field, vocabulary, fallback) =>
      json[field] === null || (json[field] === undefined && fallback === null)
        ? null
        : number(
            field,
            fallback ?? undefined,
            (x) => Number.isInteger(x) && x >= 0 && x < vocabulary,
            `a token id below ${vocabulary}`,
          ),
    inner: (field) => {
      const value = json[field] ?? null;
      if (value === null) return null;
      if (!isRecord(value)) throw wrong(field, value, 'an object');
      return configFields(value, `${place}${field}.`);
    },
    raw: (field) => json[field],
    sizes: () => [...read].map(([field, value]) => `${place}${field} ${value}`).join(', '),
  };
}

/** The model that a config.json describes, under one head. */
export interface TransformerConfig extends Transformer {
  readonly part: HeadPart;
}

/**
 * The most bytes of a model's body. Without this bound, sizes within the bounds of MOST could
 * describe a model that exceeds any disk.
 */
const MOST_BYTES = 2 ** 42;

/** Throws UserFault if the parameters of the body take more than MOST_BYTES. */
function checkSize(model: Transformer, tokenTable: string, fields: ConfigFields): void {
  const bytes = parameterBytes(bodyParameters(model, tokenTable));
  if (bytes > MOST_BYTES)
    throw new UserFault(
      `config.json describes a model of ${inWords(bytes)} (${fields.sizes()}); ` +
        `at most ${inWords(MOST_BYTES)} are read`,
    );
}

/** Returns the family's names of a head. Throws UserFault if the family has no such head. */
function headNames(
  { modelTypes: [modelType], heads }: Family,
  { type }: Head,
): { readonly transformersName: string; readonly modules?: readonly string[] } {
  const byType = { classifier: heads.classifier, cloze: heads.cloze, 'causal-lm': heads.causalLm };
  const found = byType[type];
  if (found !== undefined) return found;
  const known = Object.entries(byType).flatMap(([name, head]) => (head ? [name] : []));
  throw new UserFault(
    `${modelType} has no ${type} head here`,
    `It has ${known.join(', ')}: name one as head.type. If the checkpoint is of another family, ` +
      'name that as model.architecture (default: bert).',
  );
}

/**
 * Returns readers of a config.json. Throws UserFault if it is another family's, or if it says that
 * the weights are quantised.
 */
function fieldsFor({ modelTypes }: Family, json: unknown): ConfigFields {
  const type = isRecord(json) ? json['model_type'] : undefined;
  const fields = configFields(json);
  const quantised = fields.inner('quantization_config');
  if (quantised !== null)
    throw new UserFault(
      'config.json says that the weights are quantised: quantization_config has quant_method ' +
        shown(quantised.raw('quant_method')),
      UNQUANTISED,
    );
  if (typeof type === 'string' && modelTypes.includes(type)) return fields;
  throw new UserFault(
    `config.json says model_type ${type === undefined ? '(none)' : shown(type)}, ` +
      `but this architecture reads ${modelTypes.map((name) => `"${name}"`).join(', ')}`,
    'Name a checkpoint of this family, or the family of the checkpoint as model.architecture: ' +
      '`dosimeter plugins` lists them. With --backend torch, `model.architecture: transformers` ' +
      'reads any that transformers has.',
  );
}

/** Returns a family's architecture. Throws UserFault if the family has no head of this type. */
export function family(
  own: Family,
  head: Head = { type: 'classifier' },
): Architecture<TransformerConfig> {
  const { prefix, outer, tokenTable } = own;
  const { transformersName, modules = [] } = headNames(own, head);
  return {
    modelType: own.modelTypes[0],
    head,
    withHead: (other) => family(own, other),
    transformersName,
    headModules: modules,
    // Under a classifier, nothing but the embedding layer reads the table.
    tokenTable: head.type === 'classifier' ? tokenTable : null,
    isHead: (canonical) => within(canonical, outer),
    externalName: (canonical) => (within(canonical, outer) ? canonical : `${prefix}${canonical}`),
    parseConfig: (json, classes) => {
      const fields = fieldsFor(own, json);
      const model = own.describe(fields);
      checkSize(model, tokenTable, fields);
      return { ...model, part: describeHead({ model, tokenTable }, head, classes) };
    },
    initializerRange: ({ initializerRange }) => initializerRange,
    vocabularySize: ({ vocabulary }) => vocabulary,
    maxPositions: ({ positions }) => positions,
    linears: (config) => [...bodyLinears(config, config.part.readsOne), ...config.part.linears],
    vectors: (config) => [...bodyVectors(config, config.part.readsOne), ...config.part.vectors],
    parameters: (config) => [
      ...bodyParameters(config, tokenTable).map((spec) =>
        spec.name === tokenTable && config.part.tied.length > 0
          ? { ...spec, aliases: config.part.tied }
          : spec,
      ),
      ...config.part.parameters,
    ],
    forward: (model, batch, context) => {
      const reads = model.part.reads(batch);
      const { x, rows } = lastHiddenStates({ model, tokenTable }, batch, reads, context); // (Q, h)
      return model.part.outputs(x, rows, context); // (Q, O)
    },
    layerwise: (model, batch, context) => {
      const reads = model.part.reads(batch);
      const { x, rows } = hiddenLayers({ model, tokenTable }, batch, reads, context); // (L·Q, h)
      return model.part.outputs(x, rows, context); // (L·Q, O)
    },
    hiddenStates: (model, batch, context, shift) =>
      hiddenStates({ model, tokenTable }, batch, context, shift),
  };
}

/** BERT, for plugins that build on it. */
export const bert = family(BERT);
