/**
 * Which parameters of a model a training moves, and the kind of each, since M is reported by kind
 * as well as in total.
 */
import { UserFault } from '../../../src/api.ts';
import type { Adapter } from '../../../src/science/models/adapter.ts';
import { within } from '../../../src/science/models/modules.ts';
import type { Network } from '../../../src/science/models/network.ts';
import type { LinearLayer, ParameterSpec } from '../../../src/science/models/types.ts';

/**
 * `biases` of linear layers and of an output; `norms`: scales and shifts; `embeddings`: tables that
 * ids index, and any other matrix that is not a linear layer's weight; `other`: everything else.
 */
export const KINDS = ['biases', 'norms', 'embeddings', 'other'] as const;
export type Kind = (typeof KINDS)[number];

export interface Moved {
  /**
   * Layers whose effective weight is trained: LoRA's targets, and for full fine-tuning every linear
   * layer but the head.
   */
  readonly layers: readonly LinearLayer[];
  /** Every other trained parameter below the head, by kind. */
  readonly parameters: ReadonlyMap<Kind, readonly ParameterSpec[]>;
  /**
   * The parameters of the head that the task adds, which every adapter trains; empty where the head
   * is pretrained.
   */
  readonly head: readonly ParameterSpec[];
}

/**
 * Whether a layer's effective weight moves: with its own weight, or with the parameters of an
 * adapter that targets it.
 */
function movesWeight(adapter: Adapter, layer: string): boolean {
  return (
    adapter.trains(`${layer}.weight`) ||
    (adapter.targets.includes(layer) && adapter.parameters.some(({ name }) => adapter.trains(name)))
  );
}

function kindOf({ name, shape }: ParameterSpec, network: Network): Kind {
  if (shape.length > 1) return 'embeddings';
  const module = name.replace(/\.[^.]*$/, '');
  if (network.linears.some((layer) => layer.name === module)) return 'biases';
  const scale = network.parameters.find((spec) => spec.name === `${module}.weight`);
  if (scale?.shape.length === 1) return 'norms';
  return name.endsWith('.bias') ? 'biases' : 'other';
}

/**
 * Throws UserFault where the adapter trains parameters of its own and names no layer as its target:
 * no effective weight would include them, so M would silently lack them.
 * @param network the trained model
 * @param adapters every adapter that has trained the model since the start that it is compared
 *   with: its own and its base's
 */
export function movedBy(network: Network, adapters: readonly Adapter[]): Moved {
  const { architecture, adapter, linears } = network;
  const isHead = (name: string): boolean => within(name, architecture.headModules);
  const layers = linears.filter(
    ({ name }) => !isHead(name) && adapters.some((one) => movesWeight(one, name)),
  );
  const own = new Set(adapter.parameters.map(({ name }) => name)),
    weights = new Set(linears.map(({ name }) => `${name}.weight`));
  const hidden = adapter.parameters.find(({ name }) => adapter.trains(name));
  if (hidden !== undefined && !layers.some(({ name }) => adapter.targets.includes(name)))
    throw new UserFault(
      `the adapter trains "${hidden.name}", a parameter of its own, and names no layer whose ` +
        'weight it changes: M cannot see it',
      "Name the layers as the adapter's `targets`.",
    );
  const parameters = new Map<Kind, readonly ParameterSpec[]>();
  const add = (kind: Kind, spec: ParameterSpec): void => {
    parameters.set(kind, [...(parameters.get(kind) ?? []), spec]);
  };
  for (const spec of network.parameters) {
    const { name } = spec;
    if (own.has(name) || weights.has(name) || isHead(name)) continue;
    if (adapters.some((one) => one.trains(name))) add(kindOf(spec, network), spec);
  }
  return { layers, parameters, head: network.parameters.filter(({ name }) => isHead(name)) };
}
