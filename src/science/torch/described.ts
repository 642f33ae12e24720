/**
 * Architectures of models that none of the families (plugins/models) describes. PyTorch's process
 * describes what transformers makes of their config.json, and only that process computes with them.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { processWide } from '../../base/process-wide.ts';
import type { TorchOperations, WireArchitecture, WireDescription } from '../../torch/protocol.ts';
import { torchWorker } from '../../torch/worker.ts';
import { within } from '../models/modules.ts';
import type { Architecture, Head } from '../models/types.ts';

/** The heads that a model may have, in the order in which `describedArchitecture` tries them. */
const HEADS: readonly Head[] = [
  { type: 'classifier' },
  { type: 'cloze', tokens: [] },
  { type: 'causal-lm' },
];

/**
 * Returns the architecture of a folder's config.json, under the first of HEADS that the model has.
 * Throws UserFault where transformers, in the user's Python, does not have such a model.
 */
export async function describedArchitecture(folder: string): Promise<Architecture> {
  const text = await readFile(join(folder, 'config.json'), 'utf8');
  const description = await askDescription(text, folder);
  const first = HEADS.find(({ type }) => !('fault' in description.heads[type]));
  return makeArchitecture(description, first ?? { type: 'classifier' });
}

/**
 * Asks PyTorch's process what a config of PEFT adds to a model. Returns the fault if PEFT refuses
 * the config.
 */
export const askAdapter = async (
  request: TorchOperations['adapter'][0],
): Promise<TorchOperations['adapter'][1]> => (await torchWorker()).ask('adapter', request);

/**
 * Asks PyTorch's process for the description of the config.json `text`, which is in `folder`. Asks
 * only once for each text, since every cell of a grid needs the description; asks again if the
 * request failed.
 */
function askDescription(text: string, folder: string): Promise<WireDescription> {
  const known = processWide('torch.described', () => new Map<string, Promise<WireDescription>>());
  let found = known.get(text);
  if (found === undefined) {
    found = torchWorker().then((worker) => worker.ask('describe', { checkpoint: folder }));
    found.catch(() => known.delete(text));
    known.set(text, found);
  }
  return found;
}

/** Returns a head's description. Throws UserFault where the model has no such head. */
function requireHead(
  { model_type: modelType, heads }: WireDescription,
  { type }: Head,
): WireArchitecture {
  const head = heads[type];
  if (!('fault' in head)) return head;
  const known = HEADS.map((own) => own.type).filter((own) => !('fault' in heads[own]));
  throw new UserFault(
    `${modelType} has no ${type} head: ${head.fault}`,
    known.length === 0
      ? 'Name another model.'
      : `It has ${known.join(', ')}: name one as head.type, or name another model.`,
  );
}

/** Stands for what only PyTorch's process computes. Always throws. */
const unavailable = (): never => {
  throw new Error('this model is computed in PyTorch alone');
};

/**
 * Returns the architecture of a described model. Throws UserFault if the model lacks the head. The
 * architecture's parsed config is only the number of classes: all else is in the description.
 */
function makeArchitecture(
  description: WireDescription,
  head: Head,
): Architecture<{ readonly classes: number }> {
  const own = requireHead(description, head);
  const { outer, optional } = own,
    prefix = `${own.prefix}.`;
  /** Whether a module or parameter belongs to a head, so that its name has no prefix. */
  const isOuter = (name: string): boolean => within(name, outer);
  /** Returns the canonical name of a parameter: its name in transformers without the prefix. */
  const canonical = (name: string): string =>
    isOuter(name) || !name.startsWith(prefix) ? name : name.slice(prefix.length);
  const classes = head.type === 'classifier' ? outer : [];
  const parameters = own.parameters.map((parameter) => ({
    ...parameter,
    name: canonical(parameter.name),
    mayBeMissing: within(parameter.name, classes) || optional.includes(parameter.name),
  }));
  return {
    modelType: description.model_type,
    head,
    engine: 'torch',
    withHead: (other) => makeArchitecture(description, other),
    transformersName: own.class,
    headModules: classes,
    tokenTable: null,
    isHead: isOuter,
    externalName: (name) => (isOuter(name) ? name : `${prefix}${name}`),
    parseConfig: (_json, count) => ({ classes: count }),
    initializerRange: () => own.range,
    vocabularySize: () => own.vocabulary,
    maxPositions: () => own.positions ?? Infinity,
    linears: ({ classes: count }) =>
      own.linears.map(({ name, out, transposed, ...layer }) => ({
        ...layer,
        name: canonical(name),
        out: out ?? count,
        stored: transposed ? 'transposed' : undefined,
      })),
    vectors: () =>
      own.vectors.map(({ name, size, bias, norm }) => ({
        name: canonical(name),
        in: size,
        out: size,
        bias,
        // `unit` marks a norm. Only the TypeScript engine would call it.
        unit: norm ? unavailable : undefined,
      })),
    parameters: ({ classes: count }) =>
      parameters.map(({ name, shape, aliases, transposed, scale, mayBeMissing }) => {
        const inFile = shape.map((size) => size ?? count);
        return {
          name,
          shape: transposed ? inFile.reverse() : inFile,
          aliases: aliases.length > 0 ? aliases : undefined,
          stored: transposed ? 'transposed' : undefined,
          mayBeMissing,
          draw: scale ? { fill: 1 } : undefined,
        };
      }),
    forward: unavailable,
  };
}
