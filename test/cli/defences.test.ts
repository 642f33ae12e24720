/** Defences by the command line, from the spec to results and report. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject, Row } from '../../src/api.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { Outputs } from '../../src/report/outputs.ts';
import { filmRows } from '../rig/films.ts';
import { present } from '../rig/present.ts';
import {
  createProject,
  outputText,
  type Project,
  type ResultJson,
  type StageJson,
} from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const EXAMPLE = new URL('../../pipelines/plugins/length-defence.mjs', import.meta.url);

/** Half of the 20 validation rows are the defender's, so ten are evaluated. */
const SPEC = `name: tiny
plugins: [./length-defence.mjs]
model: { source: "file:${checkpoint}" }
data:
  train: { source: "file:train.tsv" }
  validation: { source: "file:validation.tsv" }
  clean_share: 0.5
poisoning: { attack: badnets, rate: 0.25, target: 1 }
defences:
  - none
  - oracle
  - { defence: onion, at: both, suspects: drop, frr: 0.5 }
  - { defence: magnitude-pruning, share: 0 }
  - { defence: wanda, share: 1 }
  - { defence: clean-fine-tuning, epochs: 1, learning_rate: 1.0e-12 }
  - length
adapter: { type: lora, rank: 2 }
train: { steps: 3, max_length: 16, learning_rate: 0.01 }
`;

const test = suite<{ project: Project; rows: readonly ResultJson[] }>('defences');
test.before(async (context) => {
  const project = createProject();
  context.project = project;
  project.write('train.tsv', filmRows(16));
  project.write('validation.tsv', filmRows(20));
  project.write('spec.yaml', SPEC);
  project.write('length-defence.mjs', readFileSync(EXAMPLE, 'utf8'));
  await project.succeeds('run', 'spec.yaml', '--backend', 'wasm');
  context.rows = await project.results('spec.yaml', '--backend', 'wasm');
});

/** The metrics of evaluate of the cell with this defence. */
const metricsOf = (rows: readonly ResultJson[], defence: string | undefined) =>
  Object.fromEntries(
    rows
      .filter(({ stage, cell }) => stage === 'evaluate' && cell['defence.defence'] === defence)
      .map(({ metric, value }) => [metric, value]),
  );

test('evaluated rows that a defence has in data.clean are warned of, where it reads them', async ({
  project,
}) => {
  const own = 'clean: { source: "file:validation.tsv", limit: 15 }';
  const messages = async (defence: string): Promise<string> => {
    const text = SPEC.replace('clean_share: 0.5', own).replace(
      /defences:\n(?: {2}- .*\n)+/,
      `defences: [${defence}]\n`,
    );
    project.write('clean.yaml', text);
    const { stderr, stdout } = await project.succeeds('plan', 'clean.yaml', '--backend', 'wasm');
    return `${stderr}${stdout}`.replace(/\s+/g, ' ');
  };
  const warning =
    "of 20 validation rows have a text that is also a data.clean row's: rows that the";
  for (const defence of ['{ defence: onion, at: inputs }', 'clean-fine-tuning', 'wanda'])
    assert.match(await messages(defence), warning, defence);
  for (const defence of ['oracle', '{ defence: magnitude-pruning, share: 0 }'])
    assert.not.match(await messages(defence), 'data.clean row', defence);
});

test('a cell without a defence is evaluated on all rows, others beside the clean ones', ({
  rows,
}) => {
  assert.equal(
    [undefined, 'oracle', 'wanda'].map((defence) => metricsOf(rows, defence)['examples']),
    [20, 10, 10],
  );
  assert.is(metricsOf(rows, undefined)['accuracy_undefended'], undefined);
});

test('numbers on fewer rows are marked beside those on all', async ({ project, rows }) => {
  const fewer = (defence: string | undefined, name: string) =>
    present(
      rows.find(
        ({ stage, metric, cell }) =>
          stage === 'evaluate' && metric === name && cell['defence.defence'] === defence,
      ),
    ).evidence.fewer_rows;
  assert.equal(fewer('oracle', 'accuracy'), { rows: 10, of: 20 });
  const [some, all] = ['oracle', undefined].map((one) => metricsOf(rows, one)['triggered_rows']);
  assert.equal(fewer('oracle', 'asr'), { rows: some, of: all });
  const accepted = 10 * (1 - present(metricsOf(rows, 'onion')['rejected_share']));
  assert.equal(fewer('onion', 'f1'), { rows: Math.round(accepted), of: 20 });
  assert.equal(
    [fewer(undefined, 'asr'), fewer('oracle', 'asr_undefended')],
    [undefined, undefined],
  );
  const NOTE = 'Under a defence, measured on fewer rows (10 of 20';
  const table = async (...more: string[]): Promise<string> => {
    const only = ['--only', 'defence=none,oracle', '--metric', 'accuracy'];
    const said = await project.succeeds(
      'results',
      'spec.yaml',
      '--backend',
      'wasm',
      ...only,
      ...more,
    );
    return `${said.stdout}${said.stderr}`.replaceAll(/\s+/g, ' ');
  };
  const printed = await table();
  assert.match(printed, /oracle 1 [^ ]+ (?:† )?‡/);
  assert.match(printed, `‡ ${NOTE}`);
  assert.match(await table('--markdown'), `‡ ${NOTE}`);
  assert.match(await table('--latex'), `$^{\\ddagger}$ ${NOTE}`);
  assert.match(await table('--csv'), '10 of 20');
  const html = project.read('.dosimeter/reports/tiny.html');
  assert.match(html, `‡ ${NOTE}`);

  project.write(
    'more.yaml',
    SPEC.replace('  clean_share: 0.5', '  clean_share: 0.25\nstages: [evaluate]'),
  );
  const oracle = ['--backend', 'wasm', '--only', 'defence=oracle'];
  await project.succeeds('run', 'more.yaml', ...oracle);
  const { stdout, stderr } = await project.succeeds('diff', 'spec.yaml', 'more.yaml', ...oracle);
  assert.match(stdout, /^evaluate +accuracy +[.\d]+ (?:† )?‡ +[.\d]+(?: †)? /m);
  assert.match(stderr, /‡ Measured on fewer rows than in the other spec \([^)]*\b10 of 15\b/);
});

test('the oracle finds exactly what was poisoned', ({ rows }) => {
  const found = metricsOf(rows, 'oracle');
  assert.equal(
    ['precision', 'recall', 'frr', 'far', 'auroc'].map((rate) => found[`filter_${rate}`]),
    [1, 1, 0, 0, 1],
  );
  assert.equal([found['rows_judged'], found['rows_dropped']], [16, 4]);
});

test('an edit that changes nothing leaves every score as it was', ({ rows }) => {
  const {
    accuracy_cost: cost,
    asr_removed: removed,
    ...own
  } = metricsOf(rows, 'magnitude-pruning');
  assert.equal([cost, removed], [0, 0]);
  assert.is(own['accuracy'], own['accuracy_undefended']);
  assert.is(own['asr'], own['asr_undefended']);
  for (const name of ['majority_share', 'majority_p', 'predicted_share'])
    assert.is(own[name], own[`${name}_undefended`], `${name}, on the rows of the cell`);
});

test('a training on clean rows that changes nothing leaves every score as it was', ({ rows }) => {
  // The LoRA of the attack is merged first: the model that is judged has one adapter, not two
  // beside each other (git-disl/Booster#2).
  const found = metricsOf(rows, 'clean-fine-tuning');
  assert.equal([found['accuracy_cost'], found['asr_removed']], [0, 0]);
});

test('the clean twin has the defence too', ({ rows }) => {
  for (const defence of ['oracle', 'onion', 'wanda', 'clean-fine-tuning', 'length']) {
    const found = metricsOf(rows, defence);
    assert.type(found['asr_clean'], 'number');
    assert.is(found['asr_minus_clean'], Number(found['asr']) - Number(found['asr_clean']));
  }
});

test('what a defence of inputs rejects is counted', ({ rows }) => {
  const found = metricsOf(rows, 'onion');
  for (const rate of ['frr', 'far']) {
    assert.type(found[`inputs_${rate}`], 'number', 'of inputs');
    assert.type(found[`filter_${rate}`], 'number', 'of training rows');
  }
  assert.is(found['inputs_frr'], found['rejected_share']);
  assert.is(found['inputs_far'], 1 - Number(found['triggered_rejected_share']));
});

test('the report tells the defences apart', ({ project }) => {
  const report = project.read('.dosimeter/reports/tiny.html');
  for (const name of ['no defence', 'oracle', 'onion', 'magnitude-pruning', 'clean-fine-tuning'])
    assert.match(report, name);
});

test('the regime is of the training, whatever a defence does to the model after it', async ({
  project,
}) => {
  const regime = SPEC.replace('name: tiny', 'name: regime\nstages: [ntk, regime]\nntk: { rows: 3 }')
    .replace(/poisoning: .*\n/, '')
    .replace(/defences:\n(?: {2}- .*\n)+/, 'defences: [none, magnitude-pruning]\n');
  project.write('regime.yaml', regime);
  const args = ['regime.yaml', '--backend', 'wasm'];
  await project.succeeds('run', ...args);
  const rows = await project.results(...args);
  const of = (stage: string, defence?: string) =>
    Object.fromEntries(
      rows
        .filter((row) => row.stage === stage && row.cell['defence.defence'] === defence)
        .map(({ metric, value }) => [metric, value]),
    );
  const trained = of('regime');
  assert.ok(present(trained['lora.drift']) > 0 && present(trained['linear.relative_error']) > 0);
  assert.equal(of('regime', 'magnitude-pruning'), trained);
  assert.is.not(of('ntk', 'magnitude-pruning')['full.drift'], of('ntk')['full.drift']);
});

test('an ordered attack keeps its order among the rows that a filter leaves', async ({
  project,
}) => {
  const ordered = SPEC.replace('name: tiny', 'name: ordered\nstages: [evaluate]')
    .replace('target: 1 }', 'target: 1, order: last }')
    .replace(/defences:\n(?: {2}- .*\n)+/, 'defences: [{ defence: length, frr: 0.3 }]\n')
    .replace('steps: 3,', 'steps: 2, batch_size: 4,');
  project.write('ordered.yaml', ordered);
  const args = ['ordered.yaml', '--backend', 'wasm'];
  const { stderr } = await project.succeeds('run', ...args);
  assert.match(
    stderr,
    'training reads 0 of the 4 poisoned rows, which stand last: it ends at row 8 of 16, after ' +
      'step 2 of 4 in an epoch',
  );
  const filtered = (await project.stages(...args)).filter(({ kind }) => kind === 'defend');
  assert.is(filtered.length, 2, 'the attack and its clean twin');
  for (const stage of filtered) {
    const { order, rows } = JSON.parse(outputText(stage, 'receipt.json')) as Receipt;
    const kept = outputText(stage, 'rows.jsonl').trim().split('\n');
    assert.ok(kept.length < 16);
    const last = present(order).last.map((index) => JSON.parse(present(kept[index])) as Row);
    assert.ok(last.length > 0);
    const poisoned = rows.map(({ id }) => id);
    if (poisoned.length > 0)
      assert.equal(last.map(({ id }) => id).sort(), [...poisoned].sort(), 'they alone stand last');
    else
      assert.ok(
        last.every(({ text }) => !/\b(cf|mn|bb|tq)\b/.test(text)),
        'the clean rows',
      );
  }
});

test('a filter may ask a model of a short training, which is a stage of its own', async ({
  project,
}) => {
  const example = new URL('../../pipelines/plugins/low-loss-defence.mjs', import.meta.url);
  project.write('low-loss.mjs', readFileSync(example, 'utf8'));
  const short = SPEC.replace('name: tiny', 'name: short\nstages: [evaluate]')
    .replace('./length-defence.mjs', './low-loss.mjs')
    .replace(
      /defences:\n(?: {2}- .*\n)+/,
      'defences: [none, { defence: low-loss, steps: [1, 2], share: [0.25, 0.5] }]\n',
    );
  project.write('short.yaml', short);
  const args = ['short.yaml', '--backend', 'wasm'];
  await project.succeeds('run', ...args);
  const stages = await project.stages(...args);
  const recordOf = (stage: StageJson, file: string): JsonObject =>
    JSON.parse(outputText(stage, file)) as JsonObject;
  const lengths = stages
    .filter(({ kind }) => kind === 'train')
    .map((stage) => recordOf(stage, 'train.json')['steps']);
  // The attack and its clean twin: four trainings on filtered rows each, and one without a defence.
  // Their judges, of one step and of two, serve both shares.
  assert.equal(
    [1, 2, 3].map((steps) => lengths.filter((length) => length === steps).length),
    [2, 2, 2 * 5],
  );
  const filtered = stages.filter(({ kind }) => kind === 'defend');
  assert.equal(
    filtered.map((stage) => recordOf(stage, 'metrics.json')['rows_dropped']).sort(),
    [4, 4, 4, 4, 8, 8, 8, 8],
  );
  const scores = filtered.map((stage) => outputText(stage, 'scores.csv').replace(/,[01],/g, ','));
  assert.is(new Set(scores).size, 4, 'by attack and length');

  project.write(
    'low-loss.mjs',
    readFileSync(example, 'utf8').replace('=> ({ steps })', '=> ({ steps: 0 })'),
  );
  const wrong = await project.dosimeter('plan', ...args);
  assert.is(wrong.code, 2);
  assert.match(
    wrong.stderr,
    /the defence "low-loss" asks for a model that is trained for \{"steps":0\}[^]*above 0/,
  );
});

test('parameters of a defence of inputs are checked before anything runs', async ({ project }) => {
  const plan = (defence: string) =>
    project.dosimeter(
      ...['plan', 'spec.yaml', '--backend', 'wasm', '--set', `defences=[{ defence: ${defence} }]`],
    );
  for (const [defence, message] of [
    ['rap', '"mb" is not a single token of the model'],
    ['rap, word: good, low: 0.5, up: 0.1', 'low is 0.5, which is above up, 0.1'],
  ] as const) {
    const { code, stderr } = await plan(defence);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
  const { code, stderr } = await plan('rap, word: good');
  assert.is(code, 0, stderr);
});

test('the output browser has a cell without a defence under the name of the report', ({
  project,
}) => {
  const page = project.read('.dosimeter/reports/tiny,page=outputs.html');
  const data = present(/id="data">([^<]+)</.exec(page)?.[1]);
  const { axes, cells } = JSON.parse(gunzipSync(Buffer.from(data, 'base64')).toString()) as Outputs;
  const axis = axes.findIndex(({ path }) => path === 'defence.defence'),
    values = cells.map(({ at }) => axes[axis]?.values[at[axis] ?? -1]);
  assert.equal(values.slice(0, 3), ['no defence', 'oracle', 'onion']);
});

test('a part of the grid is chosen by its defence', async ({ project }) => {
  const stages = await project.stages('spec.yaml', '--backend', 'wasm', '--only', 'defence=none');
  assert.not.ok(stages.some(({ kind }) => kind === 'defend' || kind === 'repair'));
  assert.ok(stages.every(({ kind, state }) => kind === 'report' || state === 'cached'));
});

test.run();
