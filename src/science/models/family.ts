/** Makes an architecture from a family's description: one core for all transformers. */
import { UserFault } from '../../api.ts';
import { isRecord, shown } from '../../base/untrusted/json.ts';
import { inWords } from '../../base/untrusted/limits.ts';
import { configFields } from './config-fields.ts';
import { BERT } from './families/bert-like.ts';
import type { ConfigFields, Family, HeadNames, Transformer } from './families/description.ts';
import { headOf, type HeadPart } from './heads.ts';
import { UNQUANTISED } from './io/shape.ts';
import { within } from './names.ts';
import { hidden, hiddenLayers, hiddenStates } from './transformer-forward.ts';
import { bodyLinears, bodyParameters, bodyVectors } from './transformer-parts.ts';
import type { Architecture, Head, ParameterSpec } from './types.ts';

/** A config.json as read: the model it describes, under one head. */
export interface TransformerConfig extends Transformer {
  readonly part: HeadPart;
}

/** Bound on a model's size, which could exceed any disk although each field is within its bound. */
const MOST_BYTES = 2 ** 42;

const sizeOf = ({ shape }: ParameterSpec): number => 4 * shape.reduce((a, b) => a * b, 1);

function checkSize(model: Transformer, tokenTable: string, fields: ConfigFields): void {
  const bytes = bodyParameters(model, tokenTable).reduce((sum, spec) => sum + sizeOf(spec), 0);
  if (bytes > MOST_BYTES)
    throw new UserFault(
      `config.json describes a model of ${inWords(bytes)} (${fields.sizes()}); ` +
        `at most ${inWords(MOST_BYTES)} are read`,
    );
}

/** The names of a head. Throws UserFault where the family has no head of this type. */
function namesOf(
  modelType: string,
  heads: HeadNames,
  { type }: Head,
): { readonly transformersName: string; readonly modules?: readonly string[] } {
  const byType = { classifier: heads.classifier, cloze: heads.cloze, 'causal-lm': heads.causalLm };
  const found = byType[type];
  if (found !== undefined) return found;
  const known = Object.entries(byType).flatMap(([name, head]) => (head ? [name] : []));
  throw new UserFault(
    `${modelType} has no ${type} head here`,
    `It has ${known.join(', ')}: name one as head.type.`,
  );
}

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
      '`dosimeter plugins` lists them.',
  );
}

/**
 * The architecture of this family with this head. Throws UserFault where the family has no head of
 * this type.
 */
export function family(
  own: Family,
  head: Head = { type: 'classifier' },
): Architecture<TransformerConfig> {
  const { modelTypes, prefix, outer, heads, tokenTable } = own;
  const [modelType] = modelTypes;
  const { transformersName, modules = [] } = namesOf(modelType, heads, head);
  return {
    modelType,
    head,
    withHead: (other) => family(own, other),
    transformersName,
    headModules: modules,
    // The other heads read the table too, or may.
    tokenTable: head.type === 'classifier' ? tokenTable : null,
    isHead: (canonical) => within(canonical, outer),
    externalName: (canonical) => (within(canonical, outer) ? canonical : `${prefix}${canonical}`),
    parseConfig: (json, classes) => {
      const fields = fieldsFor(own, json);
      const model = own.describe(fields);
      checkSize(model, tokenTable, fields);
      return { ...model, part: headOf({ model, tokenTable }, head, classes) };
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
    forward: (config, batch, context) => {
      const { part } = config;
      const body = { model: config, tokenTable };
      const { x, rows } = hidden(body, batch, part.reads(batch), context); // (Q, h)
      return part.outputs(x, rows, context); // (Q, O)
    },
    layerwise: (config, batch, context) => {
      const { part } = config;
      const body = { model: config, tokenTable };
      const { x, rows } = hiddenLayers(body, batch, part.reads(batch), context); // (L·Q, h)
      return part.outputs(x, rows, context); // (L·Q, O)
    },
    hiddenStates: (config, batch, context, shift) =>
      hiddenStates({ model: config, tokenTable }, batch, context, shift),
  };
}

/** BERT, for plugins that build on it. */
export const bert = family(BERT);
