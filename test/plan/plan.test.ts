import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Cell, Digest, StageDefinition, StageDescriptor } from '../../src/api.ts';
import { defineAttack, defineStage } from '../../src/api.ts';
import type { Experiment } from '../../src/experiment/types.ts';
import { stageLabels } from '../../src/plan/label.ts';
import { planExperiment } from '../../src/plan/plan.ts';
import type { Plan, PlannedStage } from '../../src/plan/types.ts';
import { createRegistry } from '../../src/registry/registry.ts';
import { cell, experiment } from '../rig/rig.ts';

const test = suite('plan');

const stage = (
  name: string,
  define: (
    cells: readonly Cell[],
    request: { readonly with: { readonly split?: string } },
  ) => StageDefinition,
  more: Partial<StageDescriptor> = {},
): StageDescriptor =>
  defineStage({
    name,
    summary: 'A fixture.',
    compute: false,
    scope: 'cell',
    define: define,
    run: async () => undefined,
    ...more,
  });

const clean = (of: Cell): Cell => ({ ...of, poisoning: { attack: 'none' } });

/** The real stages' shape: data → poison → train → evaluate, which also reads its clean twin's. */
const stages = [
  stage('data', (_, request) => ({
    params: { split: request.with.split ?? '' },
    inputs: {},
    assets: { rows: 'file:/rows' },
  })),
  stage('poison', ([one]) => ({
    params: { seed: one!.seed, poisoning: one!.poisoning },
    inputs: { data: { kind: 'data', cell: one!, with: { split: 'train' } } },
    uses: [{ kind: 'attack', name: 'none' }],
  })),
  stage(
    'train',
    ([one]) => ({
      params: { seed: one!.seed, adapter: one!.adapter },
      inputs: { rows: { kind: 'poison', cell: one! } },
    }),
    { compute: true, resources: () => ({ cpu: 2 }) },
  ),
  stage('evaluate', ([one]) => ({
    params: {},
    inputs: {
      train: { kind: 'train', cell: one! },
      rows: { kind: 'data', cell: one!, with: { split: 'validation' } },
      ...(one!.poisoning.attack === 'none' ? {} : { twin: { kind: 'train', cell: clean(one!) } }),
    },
  })),
  stage(
    'report',
    (cells) => ({
      params: {},
      inputs: Object.fromEntries(
        cells.map((one, i) => [`evaluate${i}`, { kind: 'evaluate', cell: one }]),
      ),
    }),
    { scope: 'experiment' },
  ),
];
const none = defineAttack({
  name: 'none',
  summary: 'Nothing.',
  citation: '-',
  family: 'none',
  params: { type: 'object' },
  poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
});
const registry = createRegistry([...stages, none]);

function plan(of: Experiment, from = registry): Plan {
  const planned = planExperiment(of, from, 'cpu');
  assert.ok(planned.ok, planned.ok ? '' : planned.diagnostics[0]!.message);
  return (planned as { value: Plan }).value;
}
const faults = (of: Experiment, from: typeof registry): string[] => {
  const planned = planExperiment(of, from, 'cpu');
  return planned.ok ? [] : planned.diagnostics.map(({ message }) => message);
};
const kinds = (of: Plan): { [kind: string]: number } =>
  of.stages.reduce<{ [kind: string]: number }>(
    (tally, { kind }) => ({ ...tally, [kind]: (tally[kind] ?? 0) + 1 }),
    {},
  );

const attacks = [
  { attack: 'none' },
  { attack: 'badnets', rate: 0.1 },
  { attack: 'badnets', rate: 0.3 },
];
const grid = experiment(
  ['train', 'evaluate', 'report'],
  [1, 2].flatMap((seed) =>
    attacks.flatMap((poisoning) =>
      [4, 8].map((rank) => cell(seed, poisoning, { type: 'lora', rank })),
    ),
  ),
);

test('a stage that cells have in common is planned once', () => {
  // 12 cells: one data set in two splits; poison by seed and attack; clean twins are the clean cells' own trainings.
  assert.equal(kinds(plan(grid)), { data: 2, poison: 6, train: 12, evaluate: 12, report: 1 });
});

test('a clean twin that is no cell of the grid is implied', () => {
  assert.equal(kinds(plan(experiment(['evaluate'], [cell(1, attacks[1])]))), {
    data: 2,
    poison: 2,
    train: 2,
    evaluate: 1,
  });
});

test('inputs come before what reads them', () => {
  const seen = new Set<string>();
  for (const { id, inputs } of plan(grid).stages) {
    for (const input of Object.values(inputs)) assert.ok(seen.has(input), `${input} before ${id}`);
    seen.add(id);
  }
});

test('a cell names its own stages; a stage says which cells it is for', () => {
  const planned = plan(grid);
  const byId = new Map<string, PlannedStage>(planned.stages.map((one) => [one.id, one]));
  const { cell: poisoned, stages: own } = planned.cellStages[2]!;
  assert.equal(poisoned.axes, {
    'poisoning.attack': 'badnets',
    'poisoning.rate': 0.1,
    'adapter.type': 'lora',
    'adapter.rank': 4,
  });
  assert.equal(Object.keys(own).sort(), [
    'data(train)',
    'data(validation)',
    'evaluate',
    'poison',
    'report',
    'train',
  ]);
  const train = byId.get(own['train']!)!;
  assert.equal([train.cell, train.seed, train.cells, train.goal], [poisoned.axes, 1, [2], true]);
  // The clean training at the same rank and seed: its own cell is 0; cells 2 and 4 use it.
  const baseline = byId.get(planned.cellStages[0]!.stages['train']!)!;
  assert.equal([baseline.cell['poisoning.attack'], baseline.cells], ['none', [0, 2, 4]]);
  assert.is(byId.get(byId.get(own['evaluate']!)!.inputs['twin']!)!, baseline);
  const poison = byId.get(own['poison']!)!;
  assert.equal(
    [poison.cell, poison.seed, poison.goal],
    [{ 'poisoning.attack': 'badnets', 'poisoning.rate': 0.1, 'adapter.type': 'lora' }, 1, false],
  );
  const report = byId.get(own['report']!)!;
  assert.equal(
    [report.cell, report.seed, report.cells.length],
    [{ 'adapter.type': 'lora' }, null, 12],
  );
});

test('labels hold the axes that vary', () => {
  const planned = plan(grid),
    label = stageLabels(planned);
  const byId = new Map<string, PlannedStage>(planned.stages.map((one) => [one.id, one]));
  assert.is(
    label(byId.get(planned.cellStages[3]!.stages['train']!)!),
    'train attack=badnets rate=0.1 rank=8 seed=1',
  );
  assert.is(label(planned.stages.at(-1)!), 'report');
  assert.equal(planned.stages.filter(({ kind }) => kind === 'data').map(label), [
    'data(train)',
    'data(validation)',
  ]);
  // The clean twins of two rates at each rank are no cell's own.
  const poisoned = plan(
    experiment(
      ['evaluate'],
      [attacks[1], attacks[2]].flatMap((poisoning) =>
        [4, 8].map((rank) => cell(1, poisoning, { type: 'lora', rank })),
      ),
    ),
  );
  assert.equal(
    poisoned.stages
      .filter(({ kind, cells }) => kind === 'train' && cells.length === 2)
      .map(stageLabels(poisoned)),
    ['train needed by rank=4', 'train needed by rank=8'],
  );
});

test('a stage that is asked for twice, once in another way, has two labels', () => {
  const repeating = createRegistry([
    stage('train', ([one], request) => ({
      params: { poisoning: one!.poisoning, adapter: one!.adapter, ...request.with },
      inputs: {},
    })),
    stage('divergence', ([one]) => ({
      params: {},
      inputs: {
        clean: { kind: 'train', cell: clean(one!) },
        again: { kind: 'train', cell: clean(one!), with: { batch_rows: 'reversed' } },
      },
    })),
  ]);
  const planned = plan(
    experiment(
      ['divergence'],
      [4, 8].map((rank) => cell(1, attacks[1], { type: 'lora', rank })),
    ),
    repeating,
  );
  assert.equal(planned.stages.map(stageLabels(planned)), [
    'train needed by rank=4',
    'train(reversed) needed by rank=4',
    'divergence rank=4',
    'train needed by rank=8',
    'train(reversed) needed by rank=8',
    'divergence rank=8',
  ]);
});

test('ids and keys do not depend on the order or the width of the grid', () => {
  const ids = new Set<string>(
    plan(grid)
      .stages.filter(({ kind }) => kind !== 'report')
      .map(({ id }) => id),
  );
  const turned = plan({ ...grid, cells: [...grid.cells].reverse() });
  assert.equal(
    new Set<string>(turned.stages.filter(({ kind }) => kind !== 'report').map(({ id }) => id)),
    ids,
  );
  for (const { id, kind } of plan({ ...grid, cells: grid.cells.slice(3, 7) }).stages)
    assert.ok(kind === 'report' || ids.has(id));
});

test("a key holds the stage's code and the code it uses", () => {
  const other = 'sha256:1111111111111111111111111111111111111111111111111111111111111111' as Digest;
  const edited = createRegistry([...stages, { descriptor: none, code: other }]);
  const before = plan(experiment(['poison'], [cell(1)])).stages,
    after = plan(experiment(['poison'], [cell(1)]), edited).stages;
  assert.is(before[0]!.definition, after[0]!.definition); // data
  assert.is.not(before[1]!.definition, after[1]!.definition); // poison uses the attack
  assert.equal(after[1]!.code['attacks/none'], other);
});

test('unknown kinds, circles and faulty plugins are told, each once', () => {
  const one = experiment(['evaluate'], [cell(1), cell(2)]);
  const withStage = (...more: StageDescriptor[]): typeof registry =>
    createRegistry([...more, none]);
  assert.equal(faults(experiment(['evalute'], [cell(1)]), registry), [
    'no plugin provides the stage "evalute"',
  ]);
  assert.equal(
    faults(
      one,
      withStage(
        stage('evaluate', ([a]) => ({
          params: {},
          inputs: { train: { kind: 'trian', cell: a! } },
        })),
      ),
    ),
    ['stage "evaluate" reads a stage of the kind "trian", which no plugin provides'],
  );
  assert.equal(
    faults(
      one,
      withStage(
        stage('evaluate', ([a]) => ({ params: {}, inputs: { a: { kind: 'train', cell: a! } } })),
        stage('train', ([a]) => ({ params: {}, inputs: { b: { kind: 'evaluate', cell: a! } } })),
      ),
    ),
    ['stages read each other in a circle: evaluate → train → evaluate'],
  );
  assert.match(
    faults(
      one,
      withStage(
        stage('evaluate', ([a]) => ({
          params: {},
          inputs: { b: { kind: 'evaluate', cell: { ...a!, seed: a!.seed + 1 } } },
        })),
      ),
    )[0]!,
    /without end/,
  );
  assert.equal(
    faults(
      one,
      withStage(
        stage('evaluate', () => {
          throw new Error('oops');
        }),
      ),
    ),
    ['the stage plugin "evaluate" threw while planning: oops'],
  );
  for (const [wrong, message] of [
    [null, 'returned null, not { params, inputs }'],
    [{ params: {} }, 'returned no `inputs` object'],
    [
      { params: {}, inputs: { a: { kind: 'train' } } },
      'returned an input "a" without `kind` and `cell`',
    ],
    [
      { params: { x: Number.NaN }, inputs: {} },
      'returned parameters that are not JSON: NaN is not allowed',
    ],
    [{ params: {}, inputs: {}, assets: { a: 1 } }, 'returned `assets` that are not source URIs'],
    [{ params: {}, inputs: {}, uses: ['none'] }, 'returned `uses` that are not { kind, name }'],
  ] as const) {
    assert.equal(
      faults(one, withStage(stage('evaluate', () => wrong as unknown as StageDefinition))),
      [`the stage plugin "evaluate" ${message}`],
    );
  }
  assert.equal(
    faults(
      one,
      withStage(
        stage('evaluate', () => ({ params: {}, inputs: {} }), {
          resources: () => ({ cpu: Number.NaN }),
        }),
      ),
    ),
    ['the stage plugin "evaluate" returned resources without a positive `cpu`: {"cpu":null}'],
  );
  assert.equal(
    faults(
      one,
      withStage(
        stage('evaluate', () => ({
          params: {},
          inputs: {},
          uses: [{ kind: 'attack', name: 'nonne' }],
        })),
      ),
    ),
    ['no plugin provides the attack "nonne"'],
  );
});

test('an unknown goal is placed in the spec, with the nearest word', () => {
  const planned = planExperiment(experiment(['evalute'], [cell(1)]), registry, 'cpu');
  assert.not.ok(planned.ok);
  const [fault] = (
    planned as { diagnostics: readonly { range: { line: number } | null; hint?: string }[] }
  ).diagnostics;
  assert.is(fault!.range?.line, 1);
  assert.is(
    fault!.hint,
    'did you mean "evaluate"? The stages are data, evaluate, poison, report, train.',
  );
});

test('`define` runs once a distinct cell, however many cells share it', () => {
  let calls = 0;
  const counted = stages.map((one): StageDescriptor => ({
    ...one,
    define: (...given) => {
      calls++;
      return one.define(...given);
    },
  }));
  plan(grid, createRegistry([...counted, none]));
  // Each of 12 cells defines data twice, poison, train, evaluate; twins are among them; one report.
  assert.is(calls, 12 * 5 + 1);
});

test.run();
