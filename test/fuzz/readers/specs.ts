/** Specs, and the arguments of the command line that change them. */
import { loadExperiment } from '../../../src/spec/load.ts';
import { registry } from '../../spec/rig.ts';
import { asText, bytesOf, file, type Reader, texts } from '../reader.ts';

const SPEC = `name: small
seeds: [1, 2]
model: { source: "pypi:model", architecture: bert }
data:
  train: { source: "npm:rows", columns: { text: text, label: label }, limit: 20, balance: true }
  validation: { source: "npm:rows" }
poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.2], target: 1 }]
adapter: [{ type: full }, { type: lora, rank: [4, 8], alpha: 16 }]
train: { steps: 10, batch_size: 4, learning_rate: 1.0e-3 }
ntk: { rows: 4 }
stages: [train, evaluate]
`;

const load = async (
  dir: string,
  spec: string,
  options: { sets?: readonly string[]; only?: readonly string[] } = {},
): Promise<void> => {
  await loadExperiment(file(dir, 'spec.yaml', bytesOf(spec)), {
    registry,
    env: { X: 'x' },
    ...options,
  });
};

export const SPECS: readonly Reader[] = [
  {
    name: 'spec',
    slow: 20,
    seeds: texts(
      SPEC,
      SPEC.replace('seeds: [1, 2]', 'tags: { big: { rank: 8 } }\nexclude: [{ attack: none }]'),
    ),
    read: (input, dir) => load(dir, asText(input)),
  },
  {
    name: 'override',
    slow: 20,
    seeds: texts('train.steps=20', 'seeds=[1, 2, 3]', 'adapter.1.rank=[4, 8]', 'name=other'),
    read: (input, dir) => load(dir, SPEC, { sets: [asText(input)] }),
  },
  {
    name: 'pattern',
    slow: 20,
    seeds: texts('rank=4', 'attack=badnets,none', 'adapter.type=lora', 'seed=1'),
    read: (input, dir) => load(dir, SPEC, { only: [asText(input)] }),
  },
];
