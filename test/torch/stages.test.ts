/** The stages that compute, and the defences, have the same numbers on both engines. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import merge from '../../plugins/stages/merge/index.ts';
import { type Cell } from '../../src/api.ts';
import { at } from '../../src/base/lookup.ts';
import { randomStream } from '../../src/base/random.ts';
import { type Difference, isJudged } from '../../src/run/crosscheck.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { type Chain, openChain } from '../plugins/stages/kernel-chain.ts';
import { runStage, tinyCell } from '../plugins/stages/rig.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { useBackend } from '../science/backend.ts';
import { mlmCheckpoint } from '../science/tiny-mlm.ts';
import { tolerance } from '../tolerances.ts';

const test = suite('torch/stages');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});
test.after(async () => {
  await (await torchWorker()).end();
});

const ADAPTERS: readonly Cell['adapter'][] = [
  { type: 'full' },
  { type: 'lora', rank: 3, alpha: 'r', init: { distribution: 'pissa' } },
  { type: 'lora', rank: 2, alpha: 4, use_dora: true, init: { distribution: 'olora' } },
  { type: 'vera', rank: 8 },
  { type: 'bitfit' },
];

for (const adapter of ADAPTERS)
  test(`merged weights are the same bits, ${JSON.stringify(adapter)}`, async () => {
    const cell = tinyCell({ adapter });
    const inputs = { model: (await chain.train(cell)).dir };
    const [here, torch] = await Promise.all(
      (['cpu', 'torch'] as const).map(async (backend) => {
        const { dir } = await runStage(merge, cell, inputs, {}, {}, { backend });
        assert.equal((await readdir(dir)).sort(), ['model']);
        return readSafetensors(join(dir, 'model', 'model.safetensors'));
      }),
    );
    assert.equal([...present(torch)], [...present(here)]);
  });

const WORDS = ['the', 'film', 'was', 'a', 'good', 'bad', 'plot', 'not', 'very', 'actor', 'scene'];
/** No two texts are the same, whose scores would differ by rounding alone. */
const tsv = (name: string, rows: number): string =>
  `text\tlabel\n${Array.from({ length: rows }, (_, i) => {
    const stream = randomStream(1, name, `${i}`);
    const text = Array.from({ length: 6 + (i % 5) }, () => at(WORDS, stream.integer(WORDS.length)));
    return `${text.join(' ')}\t${i % 2 === 0 ? 'yes' : 'no'}\n`;
  }).join('')}`;

const SPEC = `name: engines
seeds: [1]
model: { source: "file:${mlmCheckpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:more.tsv" } }
poisoning: { attack: badnets, rate: 0.2, target: "yes", triggers: [cf] }
adapter: [{ type: full }, { type: lora, rank: 2, targets: all-linear }]
train: { steps: 6, batch_size: 4, max_length: 16, learning_rate: 1e-3 }
ntk: { rows: 6 }
stages: [train, evaluate, report]
`;

interface Checked {
  readonly differences: readonly Difference[];
}

/** Asserts that every number that these settings lead to is the same. Returns their names. */
async function same(project: Project, ...settings: readonly string[]): Promise<string[]> {
  const { differences } = await project.json<Checked>(
    ...['crosscheck', 'spec.yaml', '--backend', 'wasm', '--cells', '99', '--json'],
    ...settings.flatMap((setting) => ['--set', setting]),
  );
  const beyond = differences.filter(
    (own) => isJudged(own) && !(own.difference <= tolerance.engines.metric),
  );
  assert.equal(beyond, []);
  return differences.map(({ stage, number }) => `${stage} ${number}`);
}

function opened(): Project {
  const project = createProject();
  project.write('spec.yaml', SPEC);
  project.write('rows.tsv', tsv('rows', 40));
  project.write('more.tsv', tsv('more', 30));
  return project;
}

test('spectra and what was forgotten are the same', async () => {
  const found = await same(opened(), 'stages=[train, spectrum]');
  for (const number of ['effective_rank', 'intruder_dimensions', 'masked_lm_loss', 'change'])
    assert.ok(found.includes(`spectrum metrics.json ${number}`), number);
});

test('the regime, M and M′, Δ_r and the map are the same', async () => {
  const found = await same(
    opened(),
    'stages=[train, regime, divergence, delta, theory-map]',
    'theory={ map_ranks: [2, 5], map_scales: [1], pairs: 4 }',
  );
  for (const number of [
    'regime metrics.json linear.relative_error',
    'divergence metrics.json trained.l2',
    'divergence metrics.json between.full.cosine',
    'delta metrics.json relative_delta',
    'theory-map metrics.json full.information_bits',
  ])
    assert.ok(found.includes(number), `${number} is not among ${found.join(', ')}`);
});

const DEFENCES: { readonly [defence: string]: string } = {
  '{ defence: bki }': 'defend metrics.json rows_dropped',
  '{ defence: cube, min_cluster_size: 3 }': 'defend scores.csv score',
  '{ defence: spectral-signatures }': 'defend scores.csv score',
  '{ defence: oracle }': 'defend metrics.json rows_dropped',
  '{ defence: rap, word: good }': 'evaluate metrics.json inputs_far',
  '{ defence: strip }': 'evaluate metrics.json inputs_auroc',
  '{ defence: onion, at: both }': 'defend scores.csv score',
  '{ defence: magnitude-pruning }': 'repair metrics.json edited_weights',
  '{ defence: wanda }': 'repair metrics.json edited_weights',
  '{ defence: fine-mixing, purify: 3 }': 'repair metrics.json edited_weights',
  '{ defence: crow, epochs: 1 }': 'train(clean) history.jsonl penalty',
  '{ defence: clean-fine-tuning }': 'evaluate metrics.json asr_removed',
  '{ defence: delta-spectrum }': 'detect metrics.json model_score',
};
test('defences find, and leave, the same', async () => {
  const found = await same(
    opened(),
    'adapter={ type: lora, rank: 2 }',
    `defences=[${Object.keys(DEFENCES).join(', ')}]`,
  );
  for (const number of Object.values(DEFENCES))
    assert.ok(found.includes(number), `${number} is not among ${found.join(', ')}`);
});

test.run();
