/** What cells with a defence share with each other and with cells that have none. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planExperiment } from '../../src/plan/plan.ts';
import type { Plan, PlannedStage } from '../../src/plan/types.ts';
import { specRegistry } from '../../src/run/prepare.ts';
import { loadRegistry } from '../../src/run/registry/registry.ts';
import { loadExperiment } from '../../src/spec/load.ts';
import { present } from '../rig/present.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const dir = await mkdtemp(join(tmpdir(), 'dosimeter-defences-'));
await writeFile(join(dir, 'rows.tsv'), 'text\tlabel\ngood\t0\nbad\t1\n');
const registry = await loadRegistry();

const spec = (more: string): string => `name: small
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
poisoning: [{ attack: none }, { attack: badnets, rate: 0.2 }]
train: { steps: 4 }
${more}
`;

async function planned(more: string): Promise<Plan> {
  const file = join(dir, 'spec.yaml');
  await writeFile(file, spec(more));
  const loaded = await loadExperiment(file, { registry: specRegistry(registry), env: {} });
  if (!loaded.ok) throw new Error(loaded.diagnostics.map(({ message }) => message).join('\n'));
  const plan = planExperiment(loaded.value, registry, 'cpu');
  if (!plan.ok) throw new Error(plan.diagnostics.map(({ message }) => message).join('\n'));
  return plan.value;
}

const count = ({ stages }: Plan, kind: string): number =>
  stages.filter((stage) => stage.kind === kind).length;

/** A stage of a cell, by its name within the cell. */
function stageOf(plan: Plan, cell: number, name: string): PlannedStage {
  const id = present(plan.cellStages[cell]).stages[name];
  return present(plan.stages.find((stage) => stage.id === id));
}

const test = suite('defences in a plan');

const plain = await planned('');

test('cells without a defence have the stages and keys that they have alone', async () => {
  const none = await planned('defences: none');
  const grid = await planned('defences: [none, oracle, onion, wanda, clean-fine-tuning]');
  const keysOf = (plan: Plan, cell: number, stages = ['poison', 'train', 'evaluate']): string[] =>
    stages.map((name) => stageOf(plan, cell, name).definition);
  assert.equal(
    none.stages.map(({ definition }) => definition),
    plain.stages.map(({ definition }) => definition),
  );
  // The grid's cells: five of no attack, five of badnets; the first of each has no defence.
  assert.equal([keysOf(grid, 0), keysOf(grid, 5)], [keysOf(plain, 0), keysOf(plain, 1)]);
});

test('defences of a model and of inputs share the training, and all share poison', async () => {
  const plan = await planned('defences: [none, onion, magnitude-pruning, wanda]');
  assert.equal(
    ['data', 'poison', 'clean', 'defend'].map((kind) => count(plan, kind)),
    [2, 2, 1, 0],
  );
  // Two trainings, and the start that the edits of ΔW read.
  assert.is(count(plan, 'train'), 2 + 1);
  assert.is(count(plan, 'repair'), 4);
  const trained = stageOf(plan, 4, 'train').id;
  for (const cell of [5, 6, 7]) assert.is(stageOf(plan, cell, 'train').id, trained);
});

test('the oracle trains anew only where something is poisoned', async () => {
  const plan = await planned('defences: [none, oracle]');
  assert.equal([count(plan, 'defend'), count(plan, 'train')], [1, 3]);
  const evaluated = stageOf(plan, 3, 'evaluate');
  assert.equal(
    Object.keys(evaluated.inputs),
    'model validation training twin clean undefended filter'.split(' '),
  );
  // Its clean twin drops nothing, and is evaluated on the same rows.
  const twin = present(plan.stages.find(({ id }) => id === evaluated.inputs['twin']));
  assert.is(twin.inputs['model'], stageOf(plan, 0, 'train').id);
  assert.is(twin.inputs['clean'], evaluated.inputs['clean']);
});

test('a filter asks the model that was trained on the same rows without a defence', async () => {
  const plan = await planned('defences: [none, cube, spectral-signatures]');
  const undefended = stageOf(plan, 3, 'train').id;
  for (const cell of [4, 5]) {
    const defend = stageOf(plan, cell, 'defend');
    assert.is(defend.inputs['model'], undefended);
    assert.is(defend.inputs['data'], stageOf(plan, 3, 'poison').id);
    assert.is.not(stageOf(plan, cell, 'train').id, undefended);
  }
  // Only spectral signatures are told clean rows.
  assert.equal(
    [4, 5].map((cell) => 'clean' in stageOf(plan, cell, 'defend').inputs),
    [false, true],
  );
});

test('no stage of a defence but the oracle reads the receipt into its parameters', async () => {
  const plan = await planned('defences: [onion, { defence: onion, at: rows }, cube]');
  for (const { kind, params } of plan.stages)
    if (kind === 'defend') assert.not.match(JSON.stringify(params), /badnets|receipt/);
});

test('clean fine-tuning is a training on clean rows from the merged model', async () => {
  const plan = await planned(
    'defences: [none, { defence: clean-fine-tuning, epochs: 2, learning_rate: 0.5 }]',
  );
  const evaluated = stageOf(plan, 3, 'evaluate');
  const tuned = present(plan.stages.find(({ id }) => id === evaluated.inputs['model']));
  assert.equal(Object.keys(tuned.inputs), ['data', 'base']);
  assert.is(tuned.inputs['data'], evaluated.inputs['clean']);
  assert.is(evaluated.inputs['base'], tuned.inputs['base']);
  const merge = present(plan.stages.find(({ id }) => id === tuned.inputs['base']));
  assert.is(merge.inputs['model'], stageOf(plan, 2, 'train').id);
  const train = tuned.params['train'] as Record<string, unknown>;
  assert.equal(
    [train['epochs'], train['steps'], train['learning_rate'], tuned.params['seed']],
    [2, undefined, 0.5, 1],
  );
});

test("freeze-A is the adapter's own option, and the same training", async () => {
  const lora = (more: string): string => `adapter: { type: lora, rank: 2${more} }`;
  const defended = await planned(`${lora('')}\ndefences: freeze-a`);
  const frozen = await planned(lora(', freeze_a: true'));
  assert.is(stageOf(defended, 1, 'train').definition, stageOf(frozen, 1, 'train').definition);
  let message = '';
  await planned('defences: freeze-a').catch((error: unknown) => {
    message = String(error);
  });
  assert.match(message, /freezes LoRA's A, and the adapter "full" has none/);
});

test('a base is trained without the defence of the cell', async () => {
  const plan = await planned('base: { poisoning: { attack: badnets } }\ndefences: oracle');
  const bases = plan.stages.filter(({ section }) => section === 'base');
  assert.ok(bases.some(({ kind }) => kind === 'train'));
  assert.not.ok(bases.some(({ kind }) => kind === 'defend'));
});

test.run();
