/** A poisoned base and clean trainings on it, by the command line. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filmRows } from '../rig/films.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('base');
test.before((context) => {
  context.project = createProject();
  context.project.write('rows.tsv', filmRows(12));
  context.project.write(
    'spec.yaml',
    `name: tiny
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
base:
  poisoning: { attack: badnets, rate: 0.2, target: 1 }
  adapter: { type: lora, rank: 2 }
adapter: [{ type: lora, rank: [2, 3] }, { type: full }]
train: { steps: 2, max_length: 8 }
`,
  );
});

const args = (...more: string[]): string[] => ['spec.yaml', '--backend', 'wasm', ...more];

test('a fault of the base is reported at its place', async ({ project }) => {
  project.write('wide.yaml', project.read('spec.yaml').replace('rank: 2 }', 'rank: 999 }'));
  const { code, stderr } = await project.dosimeter('run', 'wide.yaml', '--backend', 'wasm');
  assert.is(code, 2);
  assert.match(stderr, /wide\.yaml:6:32\n/);
  assert.match(stderr, /1 error/);
});

test('one base serves every cell of a seed, and results have its ASR', async ({ project }) => {
  const stages = await project.stages(...args());
  // Two bases, poisoned and clean; three adapters on each.
  assert.equal(
    ['train', 'merge', 'evaluate'].map(
      (kind) => stages.filter((stage) => stage.kind === kind).length,
    ),
    [2 + 6, 2, 3 + 3 + 1 + 1],
  );
  const { stderr } = await project.succeeds('run', ...args());
  assert.match(stderr, /train of base/);
  const rows = await project.results(...args());
  const asr = rows.filter(({ stage, metric }) => stage === 'evaluate' && metric === 'asr_before');
  assert.equal(
    asr.map(({ cell }) => [
      cell['base.poisoning.attack'],
      cell['poisoning.attack'],
      cell['adapter.type'],
    ]),
    [
      ['badnets', 'none', 'lora'],
      ['badnets', 'none', 'lora'],
      ['badnets', 'none', 'full'],
    ],
  );
  assert.match(project.read('.dosimeter/reports/tiny.html'), /badnets in the base, rate 0\.2/);
});

test('a figure along the trainings begins after a base that is no list', async ({ project }) => {
  const set = ['--set', 'report.figures=[{ name: along, x: training, y: [accuracy, asr] }]'];
  const figures = [...set, '--only', 'along', '--out', 'along', '--format', 'csv'];
  const { stderr } = await project.succeeds('figures', ...args(...figures));
  assert.not.match(stderr, 'along:');
  const lines = project.lines('along/along.csv').map((line) => line.split(','));
  const column = (name: string) => present(lines[0]).indexOf(name);
  const rows = await project.results(...args());
  for (const [metric, before] of [
    ['evaluate.accuracy', 'accuracy_after_1'],
    ['evaluate.asr', 'asr_before'],
  ]) {
    const drawn = lines.filter((line) => line[column('metric')] === metric);
    assert.equal(
      drawn.map((line) => line[column('x')]),
      ['1', '2', '1', '2', '1', '2'],
      metric,
    );
    assert.is(
      Number(present(drawn[0])[column('value')]),
      present(rows.find((row) => row.metric === before)).value,
    );
  }
  const clean = [...set, '--set', 'base.poisoning={ attack: none }'];
  const { stderr: said } = await project.succeeds('plan', ...args(...clean));
  assert.match(
    said,
    /--set:1:\d+: no cell of this grid has a chain of trainings\n {2}a `base` makes/,
  );
});

test('a held-out trigger is refused with the attack that shows it', async ({ project }) => {
  const own = ['--set', 'poisoning={ attack: badnets, rate: 0.4, target: 0, triggers: [mn] }'];
  const faultOf = async (trigger: string, ...more: string[]): Promise<string> => {
    const set = `evaluate.triggers=[{ name: held, attack: badnets, ${trigger} }]`;
    const said = await project.dosimeter('plan', ...args('--set', set, ...more));
    assert.is(said.code, 2, said.stderr);
    return said.stderr.replaceAll(/\s+/g, ' ');
  };
  assert.match(
    await faultOf('triggers: [cf]'),
    /"held" shows what training can show: .* one of "badnets" \(target 1, /,
  );
  assert.match(
    await faultOf('place: end', ...own),
    /"held" shows what training can show: .* one of "badnets" \(target 0, .*triggers \["mn"\]/,
  );
});

const RATE = /^(?:asr|trigger_rate)(?:_after_1)?(?:\.trigger\.training_1)?$/,
  OF_BASE = ['asr.trigger.training_1', 'asr_after_1.trigger.training_1'];

test('results name the poisoned base of a cell, and say whose trigger its rate is under', async ({
  project,
}) => {
  const twice = args(
    '--set',
    'poisoning=[{ attack: none }, { attack: addsent, rate: 0.4, target: 0 }, ' +
      '{ attack: label-flip, rate: 0.4 }]',
    ...['--set', 'adapter={ type: full }', '--set', 'stages=[evaluate, report]'],
    ...['--set', 'report.figures=[{ name: attacks, x: poisoning.attack, y: accuracy }]'],
  );
  const run = await project.succeeds('run', ...twice);
  const rows = await project.results(...twice);
  const ratesOf = (attack: string): string[] =>
    rows
      .filter(({ cell, metric }) => cell['poisoning.attack'] === attack && RATE.test(metric))
      .map(({ metric }) => metric)
      .sort();
  // Both attacks on a cell are shown: the base's trigger beside its own, or alone.
  assert.equal(ratesOf('none'), ['asr', 'asr_after_1']);
  assert.equal(ratesOf('addsent'), ['asr', ...OF_BASE, 'trigger_rate_after_1']);
  assert.equal(ratesOf('label-flip'), OF_BASE);
  const shown = await project.succeeds('results', ...twice, '--metric', 'asr');
  assert.match(shown.stdout, /^none after badnets in the base +1 /m);
  assert.match(shown.stdout, /^addsent after badnets in the base +1 /m);
  const note =
    'under the trigger of a cell’s own attack or, where it has none, of the last one before it: ' +
    'badnets in the base. A rate that names a training is under the trigger of that training.';
  assert.match(shown.stderr.replaceAll(/\s+/g, ' '), note);
  const { stdout } = await project.succeeds('results', ...twice, '--metric', 'asr', '--markdown');
  assert.match(stdout, '| none after badnets in the base |');
  assert.match(stdout, note);
  const html = readFileSync(run.stdout.trim(), 'utf8');
  assert.match(html, 'addsent, rate 0.4 after badnets in the base');
  assert.match(html, note);
  const names = await project.succeeds('figures', ...twice, '--only', 'attacks', '--out', 'twice');
  assert.match(names.stdout, 'twice/attacks.svg');
  assert.match(project.read('twice/attacks.svg'), 'label-flip after badnets in the base');
});

test('explain names the base, and the base is kept when only its cells change', async ({
  project,
}) => {
  const dose = await project.dosimeter(
    'explain',
    ...args('--all', '--set', 'base.poisoning.rate=0.4'),
  );
  assert.match(dose.stdout, /^poison of base.*\n {2}poisoning\.rate 0\.2 → 0\.4$/m);
  assert.match(dose.stdout, /^train .*pending$/m);
  const stages = await project.stages(...args('--set', 'adapter=[{type: lora, rank: 5}]'));
  assert.equal(
    stages.filter(({ kind, state }) => kind === 'merge' && state === 'cached').length,
    2,
  );
});

test('an exported adapter is written beside its base, and names it', async ({ project }) => {
  const exported = await project.json<{ readonly dir: string; readonly base?: string }[]>(
    'export',
    ...args('--out', 'models', '--json'),
  );
  const at = (name: string): string => path.join(project.dir, 'models', name);
  assert.equal(
    exported.map(({ dir, base }) => [dir, base]),
    [
      [at('type=lora,rank=2'), at('base')],
      [at('type=lora,rank=3'), at('base')],
      [at('type=full'), undefined],
    ],
  );
  assert.equal(readdirSync(at('base')).sort(), [
    'config.json',
    'model.safetensors',
    'tokenizer.json',
  ]);
  const { base_model_name_or_path: named } = JSON.parse(
    readFileSync(path.join(at('type=lora,rank=3'), 'adapter_config.json'), 'utf8'),
  ) as Record<string, unknown>;
  assert.is(named, at('base'));
  const merged = await project.json<{ readonly dir: string }[]>(
    'export',
    ...args('--out', 'merged', '--merge', '--json'),
  );
  assert.equal(
    merged.map(({ dir }) => path.basename(dir)),
    ['type=lora,rank=2', 'type=lora,rank=3', 'type=full'],
  );
});

test('a base whose weights were let go is not exported without them', async ({ project }) => {
  const keep = args('--set', 'keep={ merge: metrics }');
  await project.succeeds('run', ...keep);
  const { code, stderr } = await project.dosimeter('export', ...keep, '--out', 'without');
  assert.is(code, 2);
  assert.match(stderr, /the weights of the base of .* were let go, as `keep` asks/);
  assert.match(stderr, 'dosimeter run spec.yaml --backend wasm --set keep.merge=all computes');
  assert.not.ok(project.exists('without'));
  await project.succeeds('run', ...args('--set', 'keep={ merge: all }'));
});

test('an exported base is named after the doses that distinguish it', async ({ project }) => {
  const doses = args('--set', 'base.poisoning.rate=[0.2,0.4]', '--set', 'stages=[train]');
  await project.succeeds('run', ...doses);
  const exported = await project.json<{ readonly dir: string; readonly base?: string }[]>(
    ...['export', ...doses, '--out', 'doses', '--json'],
  );
  const bases = new Set(exported.flatMap(({ base }) => base ?? []));
  assert.equal(
    [...bases].map((dir) => path.basename(dir)),
    ['base,base.rate=0.2', 'base,base.rate=0.4'],
  );
});

test.run();
