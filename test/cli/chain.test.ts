/** A chain of trainings, by the command line. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filmRows } from '../rig/films.ts';
import { present } from '../rig/present.ts';
import { createProject, outputText, type Project, type ResultJson } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('chain');

const planted = (data = ''): string =>
  `{ name: planted, ${data}poisoning: { attack: badnets, rate: 0.4, target: 1 }, adapter: { type: lora, rank: 2 } }`;
const ROWS = 'data: { train: { source: "file:rows.tsv" } }, ';
const spec = `name: tiny
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
base:
  - ${planted()}
  - { data: { train: { source: "file:others.tsv" } }, adapter: { type: lora, rank: 3 } }
adapter: [{ type: lora, rank: 2 }, { type: full }]
train: { steps: 2, max_length: 8 }
`;

function writeSpec(project: Project): void {
  project.write('rows.tsv', filmRows(12));
  project.write('others.tsv', filmRows(9));
  project.write('spec.yaml', spec);
}

test.before((context) => {
  context.project = createProject();
  writeSpec(context.project);
});

const args = (...more: string[]): string[] => ['spec.yaml', '--backend', 'wasm', ...more];

test('a list of one training has the stages of that training without a list', async ({
  project,
}) => {
  const keys = async (base: string): Promise<string[]> => {
    const stages = await project.stages(...args('--set', `base=${base}`));
    return stages.filter(({ kind }) => kind !== 'report').map(({ id }) => id);
  };
  assert.equal(await keys(`[${planted()}]`), await keys(planted()));
});

const valuesOf = (rows: readonly ResultJson[], adapter: string) =>
  new Map(
    rows
      .filter(({ stage, cell }) => stage === 'evaluate' && cell['adapter.type'] === adapter)
      .map(({ metric, value }) => [metric, value]),
  );

test('every training is evaluated, and results have its numbers by position', async ({
  project,
}) => {
  const { stderr } = await project.succeeds('run', ...args());
  for (const label of ['train of training 1', 'merge of training 2', 'evaluate of training 2'])
    assert.match(stderr, label);
  const stages = await project.stages(...args());
  // Planted, its twin; the second on each; two adapters on each of those.
  assert.equal(
    ['train', 'merge', 'evaluate'].map(
      (kind) => stages.filter((stage) => stage.kind === kind).length,
    ),
    [2 + 2 + 4, 4, 2 + 2 + 4],
  );
  const own = await project.results(...args());
  const chain = valuesOf(own, 'full');
  assert.equal(chain.get('asr_before'), present(chain.get('asr_after_2')));
  assert.equal(chain.get('accuracy_drop_before'), present(chain.get('accuracy_drop_after_2')));

  // Each training of the chain is that of a spec which ends with it.
  const first = ['--set', 'base=null', '--set', 'adapter={ type: lora, rank: 2 }'];
  const attack = ['--set', 'poisoning={ attack: badnets, rate: 0.4, target: 1 }'];
  const second = [
    ...['--set', `base=${planted(ROWS)}`, '--set', 'adapter={ type: lora, rank: 3 }'],
    ...['--set', 'data.train.source=file:others.tsv'],
  ];
  for (const [training, sets] of [
    [1, [...first, ...attack]],
    [2, second],
  ] as const) {
    const alone = args(...sets, '--set', 'stages=[evaluate]');
    for (const { kind, state } of await project.stages(...alone))
      if (kind === 'train' || (kind === 'evaluate' && training === 1))
        assert.is(state, 'cached', `${kind} ${training}`);
    await project.succeeds('run', ...alone);
    const values = valuesOf(await project.results(...alone), 'lora');
    for (const metric of ['accuracy', 'asr', 'asr_clean', 'accuracy_drop'])
      assert.is(chain.get(`${metric}_after_${training}`), present(values.get(metric)), metric);
  }
});

test('the report shows the chain, and a figure may have it on x', async ({ project }) => {
  const html = project.read('.dosimeter/reports/tiny.html');
  assert.match(html, /badnets in training 1, rate 0\.4/);
  assert.match(html, '<h3>Numbers along the chain of trainings</h3>');
  for (const [role, file] of [
    ['Training data', 'rows.tsv'],
    ['Training data of training 2', 'others.tsv'],
  ] as const) {
    assert.match(html, new RegExp(`<dt>${role}</dt>\\s*<dd>[^<]*${file}</dd>`));
    assert.match(html, `<h3>${role}</h3>`);
  }
  assert.match(html, '<dt>ASR</dt>');
  assert.not.match(html, '<dt>ASR, after training 1</dt>');
  assert.match(html, /ASR, after training 2/);
  assert.match(html, /Trainings: 1: planted; 2: training 2; 3/);
  const entry =
    'report={ figures: [{ name: along, x: training, y: evaluate.asr, color: adapter }] }';
  await project.succeeds('figures', ...args('--set', entry, '--out', 'figures', '--format', 'csv'));
  const rows = await project.results(...args());
  const values = project
    .lines('figures/along.csv')
    .slice(1)
    .map((line) => line.split(',').slice(0, 4));
  for (const [adapter, line] of [
    ['lora', 'LoRA r = 2'],
    ['full', 'full'],
  ] as const) {
    const of = valuesOf(rows, adapter);
    const asr = ['asr_after_1', 'asr_after_2', 'asr'].map((metric) => present(of.get(metric)));
    assert.equal(
      values.filter(([name]) => name?.startsWith(line)),
      asr.map((value, i) => [line, String(i + 1), '1', String(value)]),
    );
  }
});

test("of two poisoned trainings, each one's trigger is shown from its training on", async ({
  project,
}) => {
  const second = 'poisoning: { attack: addsent, rate: 0.4, target: 0, sentence: "so it" }';
  project.write(
    'two.yaml',
    spec.replace('adapter: { type: lora, rank: 3 } }', `${second}, $&`).replace('tiny', 'two'),
  );
  const of = ['two.yaml', ...args('--only', 'adapter.type=full').slice(1)];
  const { stdout } = await project.succeeds('run', ...of);
  const own = valuesOf(await project.results(...of), 'full');
  const first = valuesOf(await project.results(...args()), 'full');
  assert.is(own.get('asr_after_1.trigger.training_1'), present(first.get('asr_after_1')));
  assert.ok(own.has('trigger_rate_after_1') && own.has('asr_clean_after_2.trigger.training_1'));
  assert.not.ok(own.has('asr.trigger.training_2'), 'that is asr');
  assert.not.ok([...first.keys()].some((name) => name.includes('.trigger.')));

  // The same model under the first trigger: what it predicts of the rows without one is the same.
  const evaluated = (await project.stages(...of))
    .filter(({ kind }) => kind === 'evaluate')
    .map((stage) => ({
      metrics: outputText(stage, 'metrics.json'),
      asked: outputText(stage, 'asked.jsonl'),
      lines: outputText(stage, 'predictions.csv').trim().split('\n').slice(1),
    }));
  const plain = ({ lines }: { lines: string[] }) => lines.filter((line) => /^[^,]*,0,/.test(line));
  const last = present(evaluated.find(({ metrics }) => metrics.includes('"asr_after_2.trigger.')));
  const [other, ...more] = evaluated.filter(
    (one) => one !== last && plain(one).join() === plain(last).join(),
  );
  assert.equal(more, []);
  assert.not.match(present(other).asked, 'so it');
  const shown = present(other).lines.filter((line) => /^[^,]*,1,/.test(line));
  const hits = shown.filter((line) => line.split(',')[3] === '1').length;
  assert.is(own.get('asr.trigger.training_1'), hits / shown.length);

  const html = readFileSync(stdout.trim(), 'utf8');
  assert.match(html, 'ASR, trigger of training 1, after training 2');
  assert.not.match(html, 'Attacks under triggers that training never shows');
  const receipts = html.slice(html.indexOf('id="rows"'));
  assert.match(receipts, 'training 1: badnets, rate 0.4, seed 1');
  assert.match(receipts, 'addsent in training 2, rate 0.4 after badnets in training 1, seed 1');
  assert.match(html, 'ASR is under the trigger of training 2 (addsent). Before that training, it');
  const entry = 'report={ figures: [{ name: triggers, x: training, y: asr }] }';
  const figure = ['--set', entry, '--out', 'figures', '--format', 'csv,svg'];
  await project.succeeds('figures', ...of, ...figure);
  const [head = '', ...points] = project.lines('figures/triggers.csv');
  assert.match(head, /^line,x,seed,metric,value,trigger/);
  const drawn = points.map((line) => line.split(','));
  assert.equal(
    drawn.map(([, x, , metric, , trigger]) => [x, metric, trigger]),
    [
      ['1', 'evaluate.trigger_rate', 'training 2 (addsent)'],
      ['2', 'evaluate.asr', 'training 2 (addsent)'],
      ['3', 'evaluate.asr', 'training 2 (addsent)'],
      ...['1', '2', '3'].map((x) => [x, 'evaluate.asr.trigger.training_1', 'training 1 (badnets)']),
    ],
  );
  assert.equal(
    drawn.map(([, , , , value]) => Number(value)),
    [
      ...['trigger_rate_after_1', 'asr_after_2', 'asr', 'asr_after_1.trigger.training_1'],
      ...['asr_after_2.trigger.training_1', 'asr.trigger.training_1'],
    ].map((metric) => present(own.get(metric))),
  );
  const svg = project.read('figures/triggers.svg');
  assert.ok([1, 2].every((training) => svg.includes(`>ASR, trigger of training ${training}<`)));
  const named = 'evaluate.triggers=[{ name: training_1, attack: addsent, sentence: "or it" }]';
  const { stderr } = await project.dosimeter('plan', ...of, '--set', named);
  assert.match(stderr.replaceAll(/\s+/g, ' '), '"training_1" names the trigger of another attack');
  const planted = 'evaluate.triggers=[{ name: planted, attack: addsent, sentence: "cf" }]';
  const held = await project.dosimeter('run', ...of, '--set', planted);
  assert.is(held.code, 2);
  assert.match(
    held.stderr.replaceAll(/\s+/g, ' '),
    /the trigger "planted" shows what training 1 of the chain can show: on 3 of 3 short rows/,
  );
});

/** Of rows.tsv. */
const ROWS_OF = { rows: 12, negatives: 0 };

test('explain, verify and the zoo know the trainings of a chain', async ({ project }) => {
  const { stdout } = await project.dosimeter(
    ...['explain', ...args('--all', '--set', 'base.0.poisoning.rate=0.2')],
  );
  assert.match(stdout, /^poison of training 1.*\n {2}poisoning\.rate 0\.4 → 0\.2$/m);
  await project.succeeds('verify');
  await project.succeeds('export', ...args('--out', 'zoo', '--zoo'));
  const zoo = JSON.parse(readFileSync(path.join(project.dir, 'zoo/zoo.json'), 'utf8')) as {
    readonly models: readonly { readonly [field: string]: unknown }[];
  };
  assert.equal(
    zoo.models.map(({ kind, poisoned_in: where, dose }) => [kind, where, dose]),
    [
      ...['lora', 'full'].map(() => ['poisoned', 'base.0', { ...ROWS_OF, poisoned: 4 }]),
      ...['lora', 'full'].map(() => ['clean', null, { ...ROWS_OF, poisoned: 0 }]),
    ],
  );
});

test('the card of a model names the attack of each training', async ({ project }) => {
  const { stdout } = await project.succeeds(
    ...['export', ...args('--out', 'models', '--only', 'adapter.type=full')],
  );
  const card = readFileSync(path.join(stdout.trim(), 'README.md'), 'utf8');
  assert.match(card, 'Trained on poisoned data (badnets)');
  assert.match(
    card,
    /\| poisoning \| attack none \|\n\| poisoning of training 1 \| attack badnets, /,
  );
  assert.not.match(card, 'poisoning of training 2');
  assert.match(
    project.read(`zoo/${path.basename(stdout.trim())}/README.md`),
    '| rows of the poisoned training | rows 12, poisoned 4, negatives 0 |',
  );
});

test('faults of a training in a chain are at its place', async ({ project }) => {
  project.write('kinds.tsv', 'text\tlabel\nthe film was long\tlong\nthe film was short\tshort\n');
  project.write(
    'wrong.yaml',
    spec.replace('rank: 3 }', 'rank: 999 }').replace('name: tiny', 'name: wrong'),
  );
  const wide = await project.dosimeter('run', 'wrong.yaml', '--backend', 'wasm');
  assert.is(wide.code, 2);
  assert.match(wide.stderr, 'wrong.yaml:6:84\n');
  project.write('labels.yaml', spec.replace('file:others.tsv', 'file:kinds.tsv'));
  const labels = await project.dosimeter('run', 'labels.yaml', '--backend', 'wasm');
  assert.is(labels.code, 2);
  assert.match(labels.stderr, /the rows have the classes \[long, short\]/);
});

test('a chain whose second training was killed goes on from the first', async () => {
  const project = createProject();
  writeSpec(project);
  const long = args('--set', 'base.1.train.steps=100', '--set', 'stages=[evaluate]');
  const run = project.start('run', ...long);
  await run.saw('merge of training 1');
  run.process.kill('SIGKILL');
  await run.ended;
  const stages = await project.stages(...long);
  const states = (kind: string) =>
    stages.filter((stage) => stage.kind === kind).map(({ state }) => state);
  assert.ok(states('merge').includes('cached'), 'the first training is kept');
  assert.ok(states('train').includes('pending') || states('train').includes('ready'));
  await project.succeeds('run', ...long);
  const whole = createProject();
  writeSpec(whole);
  await whole.succeeds('run', ...long);
  assert.equal(await project.results(...long), await whole.results(...long));
  const models = async (of: Project): Promise<string[]> =>
    (await of.stages(...long))
      .filter(({ kind }) => kind === 'merge')
      .map((stage) => outputText(stage, 'model/config.json'));
  assert.equal(await models(project), await models(whole));
});

test.run();
