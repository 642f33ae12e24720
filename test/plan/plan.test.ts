import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type Cell,
  defineAttack,
  defineStage,
  type Digest,
  type Resources,
  type StageDefinition,
  type StageDescriptor,
  type StageRequest,
} from '../../src/api.ts';
import { stageLabels } from '../../src/plan/label.ts';
import { planExperiment } from '../../src/plan/plan.ts';
import type { Plan, PlannedStage } from '../../src/plan/types.ts';
import type { Experiment } from '../../src/spec/types.ts';
import { present } from '../rig/present.ts';
import { createRegistry } from '../rig/registry.ts';
import { cell, experiment } from '../rig/rig.ts';

const test = suite('plan');

type Define = StageDescriptor['define'];
/** Makes a `define` for stages that read a single cell. */
const perCell =
  (define: (one: Cell, request: Parameters<Define>[1]) => StageDefinition): Define =>
  ([one], request) => {
    if (one === undefined) throw new Error('no cell');
    return define(one, request);
  };

const stage = (
  name: string,
  define: Define,
  more: Partial<StageDescriptor> = {},
): StageDescriptor =>
  defineStage({
    name,
    summary: 'A fixture.',
    compute: false,
    scope: 'cell',
    define,
    run: () => Promise.resolve(),
    ...more,
  });

const clean = (of: Cell): Cell => ({ ...of, poisoning: { attack: 'none' } });

const ofKind = (kind: string, of: Cell, split?: string): StageRequest => ({
  kind,
  cell: of,
  ...(split === undefined ? {} : { with: { split } }),
});

/**
 * Stages like the real ones: data → poison → train → evaluate. A poisoned evaluate also reads the
 * training of its clean twin.
 */
const stages = [
  stage('data', (_, request) => ({
    params: { split: request.with['split'] ?? '' },
    inputs: {},
    assets: { rows: 'file:/rows' },
  })),
  stage(
    'poison',
    perCell((one) => ({
      params: { seed: one.seed, poisoning: one.poisoning },
      inputs: { data: ofKind('data', one, 'train') },
      uses: [{ kind: 'attack', name: 'none' }],
    })),
  ),
  stage(
    'train',
    perCell((one) => ({
      params: { seed: one.seed, adapter: one.adapter },
      inputs: { rows: ofKind('poison', one) },
    })),
    { compute: true, resources: () => ({ cpu: 2 }) },
  ),
  stage(
    'evaluate',
    perCell((one) => ({
      params: {},
      inputs: {
        train: ofKind('train', one),
        rows: ofKind('data', one, 'validation'),
        ...(one.poisoning.attack === 'none' ? {} : { twin: ofKind('train', clean(one)) }),
      },
    })),
  ),
  stage(
    'report',
    (cells) => ({
      params: {},
      inputs: Object.fromEntries(cells.map((one, i) => [`evaluate${i}`, ofKind('evaluate', one)])),
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
  if (!planned.ok) throw new Error(planned.diagnostics.map(({ message }) => message).join('; '));
  return planned.value;
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

test('a stage that several cells share is planned once', () => {
  // The 12 cells share one data set in two splits, and poison stages by seed and attack. The
  // trainings of the clean twins are those of the clean cells.
  assert.equal(kinds(plan(grid)), { data: 2, poison: 6, train: 12, evaluate: 12, report: 1 });
});

test('a clean twin that is not a cell of the grid is implied', () => {
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

/** A stage of a cell, by its label. */
const stageOf = (of: Plan, index: number, label: string): PlannedStage => {
  const id = of.cellStages[index]?.stages[label];
  return present(of.stages.find((one) => one.id === id));
};

test('a cell names its own stages, and a stage the cells that need it', () => {
  const planned = plan(grid);
  const { cell: poisoned, stages: own } = present(planned.cellStages[2]);
  assert.equal(poisoned.axes, {
    'poisoning.attack': 'badnets',
    'poisoning.rate': 0.1,
    'adapter.type': 'lora',
    'adapter.rank': 4,
  });
  assert.equal(
    Object.keys(own).sort(),
    'data(train) data(validation) evaluate poison report train'.split(' '),
  );
  const train = stageOf(planned, 2, 'train');
  assert.equal([train.cell, train.seed, train.cells, train.goal], [poisoned.axes, 1, [2], true]);
  // The clean training at the same rank and seed is that of cell 0; cells 2 and 4 use it.
  const baseline = stageOf(planned, 0, 'train');
  assert.equal([baseline.cell['poisoning.attack'], baseline.cells], ['none', [0, 2, 4]]);
  assert.is(stageOf(planned, 2, 'evaluate').inputs['twin'], baseline.id);
  const poison = stageOf(planned, 2, 'poison');
  assert.equal(
    [poison.cell, poison.seed, poison.goal],
    [{ 'poisoning.attack': 'badnets', 'poisoning.rate': 0.1, 'adapter.type': 'lora' }, 1, false],
  );
  const report = stageOf(planned, 2, 'report');
  assert.equal(
    [report.cell, report.seed, report.cells.length],
    [{ 'adapter.type': 'lora' }, null, 12],
  );
});

test('labels contain the axes that vary', () => {
  const planned = plan(grid),
    label = stageLabels(planned);
  assert.is(label(stageOf(planned, 3, 'train')), 'train attack=badnets rate=0.1 rank=8 seed=1');
  assert.is(label(stageOf(planned, 0, 'report')), 'report');
  assert.equal(planned.stages.filter(({ kind }) => kind === 'data').map(label), [
    'data(train)',
    'data(validation)',
  ]);
  // The clean twins of two rates at each rank are not cells of the grid.
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
  // A method of PEFT is named before the fields of its config.
  const methods = plan(
    experiment(
      ['train'],
      ['IA3', 'HRA'].map((method, r) =>
        cell(1, attacks[1], { type: 'peft', 'config.r': r, 'config.peft_type': method }),
      ),
    ),
  );
  assert.equal(methods.stages.filter(({ kind }) => kind === 'train').map(stageLabels(methods)), [
    'train peft_type=IA3',
    'train peft_type=HRA',
  ]);
});

test('a stage that is asked for in two ways has two labels', () => {
  const repeating = createRegistry([
    stage(
      'train',
      perCell((one, request) => ({
        params: { poisoning: one.poisoning, adapter: one.adapter, ...request.with },
        inputs: {},
      })),
    ),
    stage(
      'divergence',
      perCell((one) => ({
        params: {},
        inputs: {
          clean: ofKind('train', clean(one)),
          again: { kind: 'train', cell: clean(one), with: { batch_rows: 'reversed' } },
        },
      })),
    ),
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

test('a label names the attack of a recipe, not its parameters', () => {
  const badnets = { attack: 'badnets', rate: 0.1 },
    triggers = [badnets, { steps: [badnets, { attack: 'addsent' }] }];
  const tried = createRegistry([
    stage(
      'evaluate',
      perCell((_, request) => ({
        params: { ...request.with },
        inputs: {},
      })),
    ),
    stage(
      'compare',
      perCell((one) => ({
        params: {},
        inputs: Object.fromEntries(
          triggers.map((trigger, i) => [
            `of${i}`,
            { kind: 'evaluate', cell: clean(one), with: { trigger } },
          ]),
        ),
      })),
    ),
  ]);
  const planned = plan(experiment(['compare'], [cell(1, attacks[1])]), tried);
  assert.equal(planned.stages.map(stageLabels(planned)), [
    'evaluate(trigger=badnets)',
    'evaluate(trigger=badnets+addsent)',
    'compare',
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

test("a key covers the stage's code and the code of the plugins that it uses", () => {
  const other = 'sha256:1111111111111111111111111111111111111111111111111111111111111111' as Digest;
  const edited = createRegistry([...stages, { descriptor: none, code: other }]);
  const [data, poison] = plan(experiment(['poison'], [cell(1)])).stages;
  const [dataAfter, poisonAfter] = plan(experiment(['poison'], [cell(1)]), edited).stages;
  assert.is(dataAfter?.definition, data?.definition);
  assert.is.not(poisonAfter?.definition, poison?.definition); // it uses the attack
  assert.equal(poisonAfter?.code['attacks/none'], other);
});

/** The faults of an experiment of two cells whose goal is `evaluate`, with these stages. */
const faultsWith = (...own: readonly StageDescriptor[]): string[] =>
  faults(experiment(['evaluate'], [cell(1), cell(2)]), createRegistry([...own, none]));
const reading = (kind: string, change: (one: Cell) => Cell = (one) => one) =>
  perCell((one) => ({ params: {}, inputs: { input: { kind, cell: change(one) } } }));

test('a stage kind that no plugin provides is reported once', () => {
  assert.equal(faults(experiment(['evalute'], [cell(1)]), registry), [
    'no plugin provides the stage "evalute"',
  ]);
  assert.equal(faultsWith(stage('evaluate', reading('trian'))), [
    'stage "evaluate" reads a stage of the kind "trian", which no plugin provides',
  ]);
});

test('stages in a circle are reported, even if each turn changes the cell', () => {
  assert.equal(
    faultsWith(stage('evaluate', reading('train')), stage('train', reading('evaluate'))),
    ['stages read each other in a circle: evaluate → train → evaluate'],
  );
  const endless = reading('evaluate', (one) => ({ ...one, seed: one.seed + 1 }));
  assert.match(faultsWith(stage('evaluate', endless))[0] ?? '', /without end/);
});

test('a plugin that throws while planning is reported by name', () => {
  const throwing = (): never => {
    throw new Error('oops');
  };
  assert.equal(faultsWith(stage('evaluate', throwing)), [
    'the stage plugin "evaluate" threw while planning: oops',
  ]);
});

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
] as const)
  test(`a plugin that ${message} is reported`, () => {
    assert.equal(faultsWith(stage('evaluate', () => wrong as never)), [
      `the stage plugin "evaluate" ${message}`,
    ]);
  });

test('an input that is not JSON is reported with its reader', () => {
  const train = stage('train', () => ({ params: {}, inputs: {} }));
  for (const change of [{ with: { of: () => 1 } }, { cell: { seed: () => 1 } }]) {
    const define = perCell((one) => ({
      params: {},
      inputs: { a: { kind: 'train', cell: one, ...change } as never },
    }));
    assert.equal(faultsWith(stage('evaluate', define), train), [
      'the stage plugin "evaluate" returned an input "train" whose `cell` or `with` is not JSON: ' +
        'a value of type function is not allowed',
    ]);
  }
});

test('resources that no machine can have are reported', () => {
  const resources = (): Resources => ({ cpu: Number.NaN });
  assert.equal(faultsWith(stage('evaluate', () => ({ params: {}, inputs: {} }), { resources })), [
    'the stage plugin "evaluate" returned resources without a positive `cpu`: {"cpu":null}',
  ]);
});

test('an attack that no plugin provides is reported', () => {
  const uses = [{ kind: 'attack', name: 'nonne' }] as const;
  assert.equal(faultsWith(stage('evaluate', () => ({ params: {}, inputs: {}, uses }))), [
    'no plugin provides the attack "nonne"',
  ]);
});

test('an unknown stage is reported with the nearest word', () => {
  const planned = planExperiment(experiment(['evalute'], [cell(1)]), registry, 'cpu');
  const [fault] = planned.ok ? [] : planned.diagnostics;
  assert.is(
    fault?.hint,
    'did you mean "evaluate"? The stages are data, evaluate, poison, report, train.',
  );
});

test('`define` runs once for each distinct cell, however many cells share it', () => {
  let calls = 0;
  const counted = stages.map((one): StageDescriptor => ({
    ...one,
    define: (...given) => {
      calls++;
      return one.define(...given);
    },
  }));
  plan(grid, createRegistry([...counted, none]));
  // Each of the 12 cells defines data twice, poison, train and evaluate; there is one report.
  assert.is(calls, 12 * 5 + 1);
});

test.run();
