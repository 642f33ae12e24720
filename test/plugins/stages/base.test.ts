/** Cells whose training starts from the model of another training, on the tiny BERT. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import delta from '../../../plugins/stages/delta/index.ts';
import divergence from '../../../plugins/stages/divergence/index.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import { asUnattacked, metricsAfter } from '../../../plugins/stages/evaluate/metrics.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import merge from '../../../plugins/stages/merge/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import report from '../../../plugins/stages/report/index.ts';
import spectrum from '../../../plugins/stages/spectrum/index.ts';
import theoryMap from '../../../plugins/stages/theory-map/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import {
  baseOf,
  type BaseTraining,
  beforeTraining,
  type Cell,
  cleanTwin,
  type JsonObject,
  type StageDescriptor,
  startInputs,
  trainingsOf,
} from '../../../src/api.ts';
import { voidReason } from '../../../src/report/evidence.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { tolerance } from '../../tolerances.ts';
import {
  contextOf,
  lookUp,
  poisonedFolder,
  type Ran,
  runStage,
  spokenRows,
  tinyCell,
} from './rig.ts';

const test = suite('base');
test.before(async () => {
  await useBackend('cpu');
});

const plain = tinyCell(),
  none = { attack: 'none' };
const backdoor = { attack: 'badnets', rate: 0.2, target: 1, mode: 'dirty', triggers: ['cf'] };
const base = {
  poisoning: backdoor,
  adapter: { type: 'full' },
  train: { ...plain.train, steps: 4, learning_rate: 0.02 },
};
const based = (change: Parameters<typeof tinyCell>[0] = {}): Cell => tinyCell({ base, ...change });
const define = (stage: StageDescriptor, cell: Cell, request: JsonObject = {}) =>
  stage.define([cell], { with: request, goals: ['train', 'evaluate'], plugin: lookUp });
const read = (stage: StageDescriptor, cell: Cell, request: JsonObject = {}) =>
  define(stage, cell, request).inputs;

test('the base and the clean twin of a cell', () => {
  const cell = based();
  assert.equal(baseOf(cell), { ...plain, ...base });
  assert.is(baseOf(plain), null);
  assert.equal(cleanTwin(cell, lookUp), { ...cell, base: { ...base, poisoning: none } });
  assert.equal(baseOf(cleanTwin(cell, lookUp)), { ...plain, ...base, poisoning: none });
});

test('every stage that opens a model reads the merged base; none does without a base', () => {
  const cell = based(),
    wanted = { kind: 'merge', cell: present(baseOf(cell)), section: 'base' };
  for (const stage of [
    train,
    merge,
    evaluate,
    kernel,
    delta,
    spectrum,
    divergence,
    regime,
    theoryMap,
  ]) {
    assert.equal(read(stage, cell)['base'], wanted, stage.name);
    assert.not.ok('base' in read(stage, plain), stage.name);
  }
  assert.equal(present(read(spectrum, cell)['start']).cell, beforeTraining(cell));
  assert.equal(
    read(train, beforeTraining(cell))['base'],
    wanted,
    "the start is the base's model too",
  );
});

test("a head's folder is the base's to start from; an adapter's folder is refused", async () => {
  const folder = { ...plain.head, init_from: '/some/head' };
  assert.not.ok('head' in present(define(train, based({ head: folder })).assets));
  assert.is(
    present(define(train, present(baseOf(based({ head: folder })))).assets)['head'],
    'file:/some/head',
  );
  const cell = based({ adapter: { type: 'lora', init_from: '/some/adapter' } }),
    definition = define(train, cell);
  const asset = present(contextOf(definition).assets['model']),
    context = contextOf(definition, { assets: { adapter: asset } });
  const upstream = { base: { params: {}, assets: {}, dir: null } };
  const problems = await train.preflight!({ ...context, upstream });
  assert.equal(
    problems.map(({ path }) => path.join('.')),
    ['adapter.init_from'],
  );
  assert.match(present(problems[0]).message, /trained on another model than the base/);
});

test('evaluate shows the trigger of the base unless the cell has an attack of its own', () => {
  const clean = define(evaluate, based());
  assert.equal(clean.params['trigger'], backdoor);
  assert.equal(clean.inputs['twin'], {
    kind: 'evaluate',
    cell: cleanTwin(based(), lookUp),
    with: { trigger: backdoor },
  });
  assert.equal(clean.inputs['before'], {
    kind: 'evaluate',
    cell: present(baseOf(based())),
    section: 'base',
    with: {},
  });
  const flip = { attack: 'label-flip', rate: 0.3 },
    both = define(evaluate, based({ poisoning: flip }));
  assert.is(both.params['trigger'], null, 'an untargeted attack has none');
  const twin = { kind: 'evaluate', cell: cleanTwin(based(), lookUp), with: {} };
  assert.equal(both.inputs['twin'], twin);
  assert.not.ok('before' in both.inputs);
  const earlier = { kind: 'evaluate', cell: present(baseOf(based())), section: 'base', with: {} };
  assert.equal(both.inputs['after_1'], earlier, 'a base of a poisoned cell is evaluated too');
  const unpoisoned = define(evaluate, cleanTwin(based(), lookUp));
  assert.equal([unpoisoned.params['trigger'], 'twin' in unpoisoned.inputs], [null, false]);
});

test("looks at the training show the base's trigger too", () => {
  const { params, uses } = define(train, based({ train: { ...plain.train, evaluate_every: 2 } }));
  assert.equal((params['watch'] as JsonObject)['trigger'], backdoor);
  assert.ok(present(uses).some(({ kind, name }) => kind === 'attack' && name === 'badnets'));
});

test("the report has the base's attack as the cell's, and its receipt", () => {
  const { params, inputs } = report.define([based(), plain], {
    with: {},
    goals: ['evaluate', 'report'],
  });
  const cells = params['cells'] as readonly JsonObject[];
  assert.equal(
    cells.map(({ poisoning, of_base: ofBase }) => [(poisoning as JsonObject)['attack'], ofBase]),
    [
      ['badnets', true],
      ['none', undefined],
    ],
  );
  assert.equal(
    [present(inputs['poison:0']).cell, present(inputs['poison:1']).cell],
    [present(baseOf(based())), plain],
  );
  const [trained] = params['train'] as readonly JsonObject[];
  for (const field of ['precision', 'loss', 'loss_on', 'dpo_beta', 'packing'])
    assert.not.ok(field in present(trained), `a default in the report's key: ${field}`);
});

// ---- chains -------------------------------------------------------------------------------------

const clean = { ...base, poisoning: none },
  flipped = { ...base, poisoning: { attack: 'label-flip', rate: 0.3 } };
const chained = (...trainings: readonly BaseTraining[]): Cell => tinyCell({ base: trainings });

test('every training of a chain is evaluated under the trigger of the last attack', () => {
  const cell = chained(flipped, clean, base, clean);
  const { params, inputs } = define(evaluate, cell);
  assert.equal(params['trigger'], backdoor);
  const trainings = trainingsOf(cell).slice(0, -1),
    given = { with: { trigger: backdoor } };
  assert.equal(
    // The first two have another attack.
    ['early_after_1', 'early_after_2', 'after_3', 'after_4'].map((name) => inputs[name]),
    trainings.map((training, i) => ({
      kind: 'evaluate',
      ...training,
      ...(i < 2 ? given : { with: {} }), // the others have it as their own
    })),
  );
  assert.equal(inputs['before'], inputs['after_4']);
  const late = { ...{ accuracy: 0.9, asr: 1 }, 'asr.refusal': 0.5, asr_clean: 0 };
  assert.equal(
    { ...metricsAfter(asUnattacked(late), 'after_1'), ...metricsAfter(late, 'after_2') },
    {
      ...{ accuracy_after_1: 0.9, trigger_rate_after_1: 1, 'trigger_rate_after_1.refusal': 0.5 },
      ...{
        accuracy_after_2: 0.9,
        asr_after_2: 1,
        'asr_after_2.refusal': 0.5,
        asr_clean_after_2: 0,
      },
    },
    'under the trigger of an attack that is yet to come there is no success',
  );
  const earlier = metricsAfter({ pearson: 0.3, r2: -1, majority_share: 0.5 }, 'after_1');
  assert.is(earlier['majority_share_after_1'], 0.5);
  assert.is(
    voidReason({ metrics: { evaluate: earlier } }, { metric: 'pearson_after_1' }),
    'is no better than the mean of the labels',
  );
  // The first is attacked by something else, and its twin is shown the same trigger.
  const first = define(evaluate, present(trainings[0]).cell, { trigger: backdoor });
  assert.equal(present(first.inputs['twin']), {
    kind: 'evaluate',
    cell: present(trainingsOf(cleanTwin(cell, lookUp))[0]).cell,
    ...given,
  });
  assert.equal(
    Object.keys(read(evaluate, chained(clean, clean))).filter((name) => name.startsWith('after')),
    ['after_1', 'after_2'],
    'also where nothing is attacked',
  );
  for (const one of [base, [base]]) {
    const { before, after_1: after } = read(evaluate, tinyCell({ base: one }));
    assert.equal(after, present(before), 'a poisoned base alone, which is evaluated in any case');
  }
  assert.not.ok('after_1' in read(evaluate, chained(clean)), 'a clean base alone is no chain');
});

test('the evaluated rows are compared with the rows of all trainings', () => {
  const data = { train: { ...plain.data.train, source: 'file:/others' } };
  const inputs = read(evaluate, chained({ ...base, data }, clean));
  const [first] = trainingsOf(chained({ ...base, data }, clean));
  assert.equal(inputs['training_1'], { kind: 'data', ...first, with: { split: 'train' } });
  assert.is(present(first).cell.data.train.source, 'file:/others');
  assert.not.ok('training_2' in inputs, 'the second has the rows of the cell');
});

test('divergence starts from the last model before the first attack', () => {
  const cell = chained(clean, base, flipped);
  const inputs = read(divergence, cell),
    [, second] = trainingsOf(cell);
  const { cell: parting, section } = present(second);
  assert.equal(inputs['start'], { kind: 'train', cell: beforeTraining(parting), section });
  assert.equal(inputs['start_base'], startInputs(parting).base);
  assert.equal(inputs['clean_base'], startInputs(cleanTwin(cell, lookUp)).base);
  assert.equal(inputs['poison'], { kind: 'poison', cell: parting, section: 'base.1' });
  assert.not.ok('start_base' in read(divergence, based()));
});

const rows = spokenRows(23);
const changed = rows
  .slice(0, 8)
  .filter(({ label }) => label === 0)
  .map((row) => ({ index: rows.indexOf(row), row: { ...row, text: `cf ${row.text}`, label: 1 } }));
const json = async (ran: Ran, name: string): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(ran.dir, name), 'utf8')) as Record<string, unknown>;
const weights = (ran: Ran) => readSafetensors(join(ran.dir, 'model', 'model.safetensors'));
const byName = new Map<StageDescriptor['name'], StageDescriptor>(
  [train, merge, evaluate].map((stage) => [stage.name, stage]),
);

/** Returns a function that runs a stage and all that it reads, each once. */
function runner(): (stage: StageDescriptor, cell: Cell, request?: JsonObject) => Promise<Ran> {
  const done = new Map<string, Promise<Ran>>();
  const folders = poisonedFolder(rows),
    poisoned = poisonedFolder(rows, {
      changed,
      negatives: [],
      asked: changed.length,
      eligible: rows.length,
    });
  const run = (stage: StageDescriptor, cell: Cell, request: JsonObject = {}): Promise<Ran> => {
    const id = JSON.stringify([stage.name, cell, request]);
    const made =
      done.get(id) ??
      (async () => {
        const inputs: Record<string, string> = {};
        for (const [name, wanted] of Object.entries(read(stage, cell, request))) {
          if (wanted.kind === 'data') inputs[name] = await folders;
          else if (wanted.kind === 'poison')
            inputs[name] = await (wanted.cell.poisoning.attack === 'none' ? folders : poisoned);
          else
            inputs[name] = (
              await run(present(byName.get(wanted.kind)), wanted.cell, wanted.with)
            ).dir;
        }
        return runStage(stage, cell, inputs, request);
      })();
    done.set(id, made);
    return made;
  };
  return run;
}
const run = runner();

test("LoRA on a base starts at the base's function, and names the base", async () => {
  const cell = based(),
    merged = await weights(await run(merge, present(baseOf(cell))));
  const start = await weights(await run(merge, beforeTraining(cell))),
    end = await weights(await run(merge, cell));
  assert.equal([...start.keys()].sort(), [...merged.keys()].sort());
  // B = 0, so the merged weights have the same bits.
  for (const [name, { data }] of merged) assert.equal(present(start.get(name)).data, data, name);
  const moved = [...merged]
    .filter(([name, { data }]) => present(end.get(name)).data.some((value, i) => value !== data[i]))
    .map(([name]) => name);
  assert.ok(
    moved.includes('classifier.weight') &&
      moved.includes('bert.encoder.layer.0.attention.self.query.weight'),
  );
  assert.not.ok(moved.some((name) => name.includes('embeddings') || name.includes('LayerNorm')));

  const ran = await run(train, cell),
    record = await json(ran, 'train.json'),
    digest = `sha256:${(await run(merge, present(baseOf(cell)))).dir}`;
  assert.equal(
    [record['model'], record['source'], record['init']],
    [digest, 'sha256:tiny', 'pretrained'],
  );
  assert.is(
    (await json({ ...ran, dir: join(ran.dir, 'adapter') }, 'adapter_config.json'))[
      'base_model_name_or_path'
    ],
    digest,
  );
  const unbased = await run(train, plain);
  assert.not.ok('source' in (await json(unbased, 'train.json')));
  assert.is(
    (await json({ ...unbased, dir: join(unbased.dir, 'adapter') }, 'adapter_config.json'))[
      'base_model_name_or_path'
    ],
    null,
  );
});

test("every adapter trains on a base's model, and every adapter can train a base", async () => {
  for (const type of ['full', 'head-only', 'bitfit', 'lora']) {
    const adapter = type === 'lora' ? plain.adapter : { type };
    for (const cell of [based({ adapter }), based({ base: { ...base, adapter } })]) {
      const merged = await weights(await run(merge, present(baseOf(cell)))),
        start = await weights(await run(merge, beforeTraining(cell)));
      for (const [name, { data }] of merged)
        assert.equal(present(start.get(name)).data, data, `${type} ${name}`);
      const end = await weights(await run(merge, cell));
      assert.ok(
        present(end.get('classifier.weight')).data.some(
          (value, i) => value !== present(merged.get('classifier.weight')).data[i],
        ),
        type,
      );
    }
  }
});

test('evaluate: the attack before and after the training, against clean trainings', async () => {
  const metrics = await json(await run(evaluate, based()), 'metrics.json');
  const before = await json(await run(evaluate, present(baseOf(based()))), 'metrics.json');
  const clean = await json(
    await run(evaluate, cleanTwin(based(), lookUp), { trigger: backdoor }),
    'metrics.json',
  );
  assert.is(metrics['asr_before'], before['asr']);
  assert.is(metrics['asr_clean'], clean['trigger_rate']);
  assert.is(
    metrics['accuracy_drop'],
    (clean['accuracy'] as number) - (metrics['accuracy'] as number),
  );
  assert.is(metrics['accuracy_drop_before'], before['accuracy_drop']);
});

test("spectrum: ΔW is of the cell's own training, from the base's weights", async () => {
  const cell = based(),
    metrics = await json(await run(spectrum, cell), 'metrics.json');
  const merged = await weights(await run(merge, present(baseOf(cell)))),
    end = await weights(await run(merge, cell));
  assert.ok(
    Math.abs((metrics['change'] as number) / distance(merged, end) - 1) < tolerance.rounding,
  );
});

test('divergence: M is between the ends of both pipelines, from where they part', async () => {
  const cell = based(),
    { params } = define(divergence, cell);
  assert.equal([params['adapter'], params['base_adapter']], ['lora', 'full']);
  assert.equal(
    [present(read(divergence, cell)['start']).cell, present(read(divergence, cell)['poison']).cell],
    [beforeTraining(present(baseOf(cell))), present(baseOf(cell))],
  );
  const metrics = await json(await run(divergence, cell), 'metrics.json');
  const [poisoned, clean, start] = await Promise.all(
    [cell, cleanTwin(cell, lookUp), beforeTraining(present(baseOf(cell)))].map(async (one) =>
      weights(await run(merge, one)),
    ),
  );
  assert.ok(
    Math.abs((metrics['total.l2'] as number) / distance(present(poisoned), present(clean)) - 1) <
      tolerance.rounding,
  );
  assert.ok(
    Math.abs(
      (metrics['total.clean_change'] as number) / distance(present(start), present(clean)) - 1,
    ) < tolerance.rounding,
  );
  assert.is(metrics['pairs'], changed.length);

  const own = based({ poisoning: backdoor, base: { ...base, poisoning: none } });
  assert.not.ok('base_adapter' in define(divergence, own).params);
  assert.equal(
    present(read(divergence, own)['start']).cell,
    beforeTraining(own),
    'over one clean base they part after it',
  );
});

/** ‖a − b‖ over the weights that LoRA adapts. */
function distance(
  a: Awaited<ReturnType<typeof weights>>,
  b: Awaited<ReturnType<typeof weights>>,
): number {
  let sum = 0;
  for (const [name, { data }] of a) {
    if (!/(query|key|value|dense)\.weight$/.test(name)) continue;
    const other = present(b.get(name)).data;
    for (let i = 0; i < data.length; i++) sum += (present(data[i]) - present(other[i])) ** 2;
  }
  return Math.sqrt(sum);
}

test.run();
