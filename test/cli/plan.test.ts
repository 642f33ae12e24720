/** `plan` reports what `run` would refuse, in the same words, and fetches nothing for it. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { startHub } from '../plugins/sources/hub.ts';
import { mailRows } from '../rig/mails.ts';
import { present } from '../rig/present.ts';
import { createProject, placesIn, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('plan before run');
test.before.each((context) => {
  const project = (context.project = createProject());
  project.write('rows.tsv', mailRows);
});

interface Parts {
  readonly model?: string;
  readonly validation?: string;
  readonly poisoning?: string;
  readonly adapter?: string;
  readonly more?: string;
}

const spec = ({
  model = `file:${checkpoint}`,
  validation = 'source: "file:rows.tsv"',
  poisoning = 'attack: none',
  adapter = 'type: lora, rank: 2',
  more = 'stages: [train, evaluate]',
}: Parts): string => `name: plan
model: { source: "${model}" }
data: { train: { source: "file:rows.tsv" }, validation: { ${validation} } }
poisoning: { ${poisoning} }
adapter: { ${adapter} }
train: { steps: 1, batch_size: 4, max_length: 16 }
${more}
`;

/**
 * The name of a package that does not exist: if a registry is asked for it, the answer shows that.
 */
const UNFETCHED = 'pypi:dosimeter-no-such-model==0.0.0';

test('plan reports every fault of the input at once, like run', async ({ project }) => {
  project.write(
    'spec.yaml',
    spec({
      validation: 'source: "file:rows.tsv", columns: { text: txt }',
      poisoning: 'attack: badnets, rate: 0.1, target: hma',
      adapter: 'type: lora, rank: 2, targets: all-linaer, init: { variance: ["1/(3d)", 1/(3dd)] }',
    }),
  );
  const { code, stdout, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.equal(
    [code, placesIn(stderr)],
    [2, ['spec.yaml:3:101', 'spec.yaml:4:50', 'spec.yaml:5:42', 'spec.yaml:5:83']],
    stderr,
  );
  for (const form of [[], ['--json'], ['--mermaid']])
    assert.equal(
      await project.dosimeter('plan', 'spec.yaml', ...form),
      { code, signal: null, stdout, stderr },
      form.join(),
    );
});

test('columns by number need `header`: reported once, at the columns', async ({ project }) => {
  const numbers = (header: string): string =>
    spec({
      validation: `source: "file:rows.tsv", columns: { text: 0, label: 1 }${header}`,
      more: 'stages: [evaluate]',
    });
  project.write('spec.yaml', numbers(''));
  const { code, stderr } = await project.dosimeter('plan', 'spec.yaml');
  assert.equal([code, placesIn(stderr)], [2, ['spec.yaml:3:93']], stderr);
  assert.match(
    stderr,
    'data.validation.columns are numbers, and nothing says whether the first line of the file ' +
      'names its columns or is a row',
  );
  assert.match(stderr, /Write header: false in data\.validation if it is a row, or header: true/);
  project.write('spec.yaml', numbers(', header: true'));
  assert.is((await project.dosimeter('plan', 'spec.yaml')).code, 0);
});

test("an outside attack's target that is not a class is reported at the attack", async ({
  project,
}) => {
  for (const [check, target, place] of [
    ['', '() => -1', '4:22'],
    ['check: () => [],', '() => 2', '4:22'],
    ['', '({ target }) => target', '4:36'],
  ] as const) {
    project.write(
      'mine.mjs',
      `import { defineAttack } from 'dosimeter';
export default defineAttack({
  name: 'mine', summary: 'Mine.', citation: '', family: 'backdoor', ${check}
  params: {
    type: 'object', additionalProperties: false,
    properties: { target: { type: 'integer', description: 'The target.' } },
  },
  poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
  target: ${target},
  trigger: (row) => row,
});
`,
    );
    project.write(
      'spec.yaml',
      spec({
        poisoning: place === '4:36' ? 'attack: mine, target: 7' : 'attack: mine',
        more: 'stages: [train, evaluate]\nplugins: [./mine.mjs]',
      }),
    );
    const { code, stderr } = await project.dosimeter('plan', 'spec.yaml');
    assert.is(code, 2, stderr);
    assert.match(
      stderr,
      new RegExp(
        'the attack "mine" has the target (-1|2|7), which is not the label id of a class: ' +
          'the classes are 0 \\("ham"\\), 1 \\("spam"\\)',
      ),
    );
    assert.equal(placesIn(stderr), [`spec.yaml:${place}`], stderr);
  }
});

test('plan --json tells a clean twin from the cell that needs it', async ({ project }) => {
  const poisoning = 'attack: badnets, rate: 0.25, target: ham';
  project.write('spec.yaml', spec({ poisoning }));
  const { stages } = await project.json<{
    stages: { kind: string; own: boolean; cell: JsonObject; inputs: JsonObject; id: string }[];
  }>('plan', 'spec.yaml', '--json');
  const evaluations = stages.filter(({ kind }) => kind === 'evaluate'),
    [own] = evaluations.filter((stage) => stage.own),
    [twin] = evaluations.filter((stage) => !stage.own);
  assert.is(evaluations.length, 2);
  assert.is(own?.inputs['twin'], twin?.id);
  assert.equal(twin?.cell, own?.cell, 'the values of the cell that needs it');
});

test('a warning is not a fault, and is told again of what is cached', async ({ project }) => {
  project.write(
    'spec.yaml',
    spec({ poisoning: 'attack: badnets, rate: 0.01, target: ham', more: 'stages: [poison]' }),
  );
  const warning =
    'spec.yaml:4:37: rate 0.01 of 12 training rows is less than one row: nothing is poisoned\n';
  const plain = await project.dosimeter('plan', 'spec.yaml'),
    json = await project.dosimeter('plan', 'spec.yaml', '--json');
  assert.equal([plain.code, plain.stderr, json.code, json.stderr], [0, warning, 0, warning]);
  assert.equal(Object.keys(JSON.parse(json.stdout) as object), ['stages', 'targets']);
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  assert.is((await project.dosimeter('plan', 'spec.yaml')).stderr, warning);
  assert.is((await project.dosimeter('run', 'spec.yaml')).stderr.split('\n')[0], warning.trim());
  const misspelt = 'adapter.targets=[qery]';
  const faulty = await project.dosimeter(
    ...['plan', 'spec.yaml', '--set', 'poisoning.rate=0.02', '--set', misspelt],
    ...['--set', 'stages=[train]'],
  );
  assert.is(faulty.code, 2, faulty.stderr);
  assert.match(faulty.stderr, /^\S+ rate 0\.02 of 12 training rows .*\nerror\[preflight\]: /);
});

test('checks that need a source that is not fetched are skipped, the others are made', async ({
  project,
}) => {
  const unfetched = spec({
    model: UNFETCHED,
    adapter: 'type: lora, rank: 2, targets: all-linaer',
    more: 'stages: [train, evaluate]',
  });
  project.write('spec.yaml', unfetched);
  const passed = await project.dosimeter('plan', 'spec.yaml');
  assert.is(passed.code, 0);
  // Of the rows, which are there.
  assert.match(
    passed.stderr,
    /^spec\.yaml:3:57: 12 of 12 validation rows have a text that is also/,
  );
  assert.is(
    passed.stderr
      .trim()
      .split('\n')
      .filter((line) => !line.startsWith('  ')).length,
    1,
  );
  assert.match(passed.stdout, `${UNFETCHED} is not fetched yet\n`);
  assert.match(passed.stdout, /\ndisk: no estimate yet\n$/);
  project.write(
    'spec.yaml',
    unfetched
      .replace('attack: none', 'attack: badnets, target: eggs')
      .replace('evaluate]', 'evaluate, ntk]\nntk: { at: [5] }'),
  );
  const told = await project.dosimeter('plan', 'spec.yaml');
  assert.is(told.code, 2);
  assert.equal(placesIn(told.stderr), ['spec.yaml:4:39', 'spec.yaml:8:12'], told.stderr);
});

test('faults are found although the rows that a warning asks for are not fetched', async ({
  project,
}) => {
  const faultOf = async (adapter: string, train: string, more: string): Promise<string> => {
    const text = spec({ adapter: `type: lora, rank: 2${adapter}`, more })
      .replaceAll('file:rows.tsv', 'pypi:dosimeter-no-such-data==0.0.0#rows.tsv')
      .replace('steps: 1', train);
    project.write('spec.yaml', text);
    const told = await project.dosimeter('plan', 'spec.yaml');
    assert.is(told.code, 2, text);
    return told.stderr;
  };
  assert.match(
    await faultOf(', targets: [qery]', 'epochs: 1, warmup: 1', 'stages: [train]'),
    'no linear layer is named "qery"',
  );
  assert.match(
    await faultOf('', 'steps: 2', 'stages: [evaluate]\nevaluate: { max_length: 100000 }'),
    'rows of 100000 tokens do not fit the model',
  );
  assert.match(
    await faultOf('', 'steps: 2', 'stages: [ntk]\nntk: { at: [5], split: train }'),
    'step 5 is not kept',
  );
});

test('a model of another family is refused before its weights are fetched', async ({ project }) => {
  const hub = await startHub();
  const commit = 'a'.repeat(40);
  try {
    const env = Object.fromEntries(
      Object.entries(hub.context.env).map(([name, value]) => [name, value ?? '']),
    );
    const config = '{"model_type":"mamba"}';
    hub.repositories.set('models/lab/robust', {
      commit,
      files: { 'config.json': config, 'model.safetensors': 'w', 'tokenizer.json': '{}' },
    });
    project.write('spec.yaml', spec({ model: 'hf:lab/robust' }));
    const refused = new RegExp(
      'error\\[model-family\\]: hf:lab/robust is a "mamba" model, which the architecture "bert" ' +
        'does not read\\n --> spec\\.yaml:2:\\d+\\n[^]*the supported families are bert, ' +
        'deberta-v2, distilbert, [^;]*roberta[^;]*; a model plugin of your own may add another',
    );

    const before = await project.dosimeterWith(env, 'plan', 'spec.yaml');
    assert.is(before.code, 0, before.stderr);
    assert.match(
      before.stderr,
      /the family of hf:lab\/robust is checked once `run` has fetched its config\.json; supported are bert, /,
    );
    assert.equal(hub.requests, [], 'plan fetches nothing');

    const run = await project.dosimeterWith(env, 'run', 'spec.yaml');
    assert.is(run.code, 2);
    assert.match(run.stderr, refused);
    assert.equal(
      hub.requests.filter((path) => !path.endsWith('config.json')),
      [],
      'nothing but config.json was asked for',
    );

    // Lays the file out as transformers' AutoConfig does in its cache.
    const cached = `hf/hub/models--lab--robust`;
    project.write(`${cached}/refs/main`, commit);
    project.write(`${cached}/snapshots/${commit}/config.json`, config);
    const home = { ...env, HF_HOME: `${project.dir}/hf` };
    const after = await project.dosimeterWith(home, 'plan', 'spec.yaml');
    assert.is(after.code, 2);
    assert.match(after.stderr, refused);

    project.write(`${cached}/snapshots/${commit}/config.json`, '{"model_type":"roberta"}');
    const known = await project.dosimeterWith(home, 'plan', 'spec.yaml');
    assert.is(known.code, 2);
    assert.match(known.stderr, /is a "roberta" model[^]*write model\.architecture: roberta/);
  } finally {
    await hub.close();
  }
});

/** config.json of Llama 3.2 1B. */
const LONG = 'steps: 1000, batch_size: 8, max_length: 512';
const LLAMA = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 128_256,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-5,
  rope_theta: 500_000,
  tie_word_embeddings: true,
};

test('plan foretells memory and operations of trainings on a large decoder', async ({
  project,
}) => {
  const shipped = new URL('../../pipelines/llama-lora.yaml', import.meta.url);
  const tokenizer = new URL('../golden/tokenizers/llama3/', import.meta.url);
  project.write('llama-lora.yaml', readFileSync(shipped, 'utf8'));
  project.write('llama/config.json', JSON.stringify(LLAMA));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    project.write(`llama/${name}`, readFileSync(new URL(name, tokenizer), 'utf8'));
  project.write(
    'here.yaml',
    'extends: llama-lora.yaml\n' +
      'model: { source: "file:./llama", architecture: llama, init: random }\n',
  );
  const { stdout } = await project.succeeds('plan', 'here.yaml');
  // 1,235,814,400 entries, and 851,968 of LoRA five times: 4.62 GiB. 2048 tokens of 16 layers with
  // 12·2048 + 3·8192 + 3·32·512 floats, and 4 logits of each of 128,256 words: 15.91 GiB. Copies of
  // frozen weights, as many as are kept: 0.25 GiB.
  // 8192 tokens of 4·973,078,528 operations in layers, 4·128256·2048 in the output, and
  // 12·512·2048·16 in attention: 42.1 TFLOP.
  assert.match(
    stdout,
    /train: at most 20\.8 GB of memory a stage, and a step of at most 42,000 GFLOP \(about 14 min/,
  );
  // 851,968 entries of 4 bytes for each of the trainings.
  const trainings = Number(/^train +(\d+)/m.exec(stdout)?.[1]);
  const megabytes = ((trainings * 4 * 851_968) / 1e6).toFixed(1);
  assert.match(
    stdout.replaceAll(/\s+/g, ' '),
    `disk: about ${megabytes} MB (train by model and adapter; without data, poison, evaluate, `,
  );
  const whole = await project.succeeds('plan', 'here.yaml', '--set', 'adapter={ type: full }');
  const gigabytes = ((trainings * 4 * 1_235_814_400) / 1e9).toFixed(1);
  assert.match(whole.stdout, `disk: about ${gigabytes} GB (train by model`);
});

test('plan --hardware weighs trainings of a model of which only config.json is at hand', async ({
  project,
}) => {
  const hub = await startHub();
  try {
    const env = Object.fromEntries(
      Object.entries(hub.context.env).map(([name, value]) => [name, value ?? '']),
    );
    const files = { 'config.json': JSON.stringify(LLAMA), 'model.safetensors': 'w' };
    hub.repositories.set('models/lab/llama', { commit: 'b'.repeat(40), files });
    const named = spec({ model: 'hf:lab/llama', more: 'seeds: [1, 2, 3]\nstages: [train]' });
    const model = named.replace('{ source: "hf', '{ architecture: llama, source: "hf');
    project.write('spec.yaml', model.replace('steps: 1, batch_size: 4, max_length: 16', LONG));
    const { code, stdout, stderr } = await project.dosimeterWith(
      env,
      ...['plan', 'spec.yaml', '--hardware', 'h100'],
    );
    assert.is(code, 0, stderr);
    assert.equal(
      hub.requests.filter((path) => !path.endsWith('config.json')),
      [],
      'nothing but config.json was asked for',
    );
    // 4 operations for each of 973,078,528 entries of a linear layer, 12·512·2048·16 in attention,
    // by 4096 tokens in each of 1,000 steps, three times, at half of 66.9 TFLOP/s: 25 min; of 32
    // tokens in place of 512, a sixteenth.
    const seconds = (3 * 1000 * 4096 * (4 * 973_078_528 + 12 * 512 * 2048 * 16)) / 33.45e12;
    assert.is(Math.round(seconds / 60), 25);
    assert.is(Math.round(seconds / 16), 94);
    assert.match(
      stdout,
      /^one H100 SXM, torch: 3 trainings one after another: 1 min 34 s if rows have 32 tokens on average, at most 25 min \(512 tokens\); at most \d+\.\d of 80 GB of memory; 66\.9 TFLOP\/s in float32/m,
    );
    // A start that nothing trains is no training.
    const shared = ['--set', 'train.devices=2', '--set', 'train.steps=[0, 1000]'];
    assert.match(
      (await project.dosimeterWith(env, 'plan', 'spec.yaml', ...shared, '--hardware', 'h100'))
        .stdout,
      /^one H100 SXM, torch: 3 trainings one after another: 1 min 34 s if rows have 32 tokens on average, at most 25 min \(512 tokens\), as if one device computed what up to 2 share; at most \d+\.\d of 80 GB of memory on each device; 66\.9 TFLOP/m,
    );
    const byEpochs = ['--set', 'train.epochs=2', '--hardware', 'a100'];
    assert.match(
      (await project.dosimeterWith(env, 'plan', 'spec.yaml', ...byEpochs)).stdout,
      /^one A100, torch: without 3 trainings, in epochs or of unknown models; 19\.5 TFLOP/m,
    );
  } finally {
    await hub.close();
  }
});

test('a plan, a run and its report are those of the profile that is named', async ({ project }) => {
  project.write(
    'spec.yaml',
    spec({ more: 'seeds: [1, 2]\nstages: [train, evaluate, report]\nnotes: Ours.\nprofiles:' }) +
      '  tiny: { seeds: [3] }\n  two: { train: { steps: 2 } }\n',
  );
  const tiny = ['spec.yaml', '--profile', 'tiny'];
  assert.match(
    (await project.succeeds('plan', ...tiny)).stdout,
    'plan: 1 cell (1 condition × 1 seed), ',
  );
  const missing = await project.succeeds('results', ...tiny);
  assert.match(missing.stderr, 'dosimeter run spec.yaml --profile tiny');
  const { stdout } = await project.succeeds('run', ...tiny);
  assert.match(stdout, /reports\/plan,profile=tiny\.html\n$/);
  assert.match(project.read('.dosimeter/reports/plan,profile=tiny.html'), 'Profile tiny.\nOurs.');
  assert.equal([...new Set((await project.results(...tiny)).map(({ seed }) => seed))], [3]);
  assert.match((await project.succeeds('status')).stdout, 'Profile tiny.');
  const long = ['a', 'b', 'c'].flatMap((name) => ['--set', `notes=${name.repeat(80)}`]);
  const { stdout: cut } = await project.succeeds('run', ...tiny, ...long);
  assert.match(cut, /reports\/plan,profile=tiny-[0-9a-f]{8}\.html\n$/);
  // Stages that profiles have in common are computed once.
  const shared = await project.succeeds('plan', ...tiny.with(2, 'two'), '--set', 'seeds=[3]');
  assert.match(shared.stdout, /^train +1 +0 +1 +0/m);
  assert.match(shared.stdout, /^data +2 +2 /m);
});

test('the disk that plan foretells is what a run like one before takes', async ({ project }) => {
  project.write('spec.yaml', spec({ adapter: 'type: full' }));
  // Of the models before training, of which kernels are taken, nothing is foretold.
  const kernels = ['spec.yaml', '--set', 'stages=[train, ntk]', '--set', 'seeds=[1]'];
  const { stdout: fresh } = await project.succeeds('plan', ...kernels);
  const named = /train by model and adapter; without data, poison, 1 of 2 train, kernel, ntk, of/;
  assert.match(fresh.replaceAll(/\s+/g, ' '), named);
  const storeBytes = (): number =>
    (readdirSync(path.join(project.dir, '.dosimeter/store'), { recursive: true }) as string[])
      .map((name) => statSync(path.join(project.dir, '.dosimeter/store', name)))
      .reduce((sum, found) => sum + (found.isFile() ? found.size : 0), 0);
  await project.succeeds('run', 'spec.yaml');
  const before = storeBytes();
  const more = ['spec.yaml', '--set', 'seeds=1..4'];
  const { stdout } = await project.succeeds('plan', ...more);
  assert.match(stdout, /^train: at most [1-9]\d* MB of memory a stage/m); // not 0.0 GB
  const [, kB] = present(/^disk: about (\d+) kB \(train by model and adapter; /m.exec(stdout));
  const elsewhere = ['spec.yaml', '--set', `model.source="${UNFETCHED}"`];
  assert.match(
    (await project.succeeds('plan', ...elsewhere)).stdout,
    /\ndisk: no estimate yet\n$/,
    'sizes of another model are none of its own',
  );
  await project.succeeds('run', ...more);
  const share = (1000 * Number(kB)) / (storeBytes() - before);
  assert.ok(share > 0.5 && share < 1.5, `${kB} kB is ${share} of what was written`);
});

test('plan warns of kernels over rows of one class', async ({ project }) => {
  project.write('spec.yaml', spec({ more: 'ntk: { rows: 2 }\nstages: [ntk]' }));
  const { stdout, stderr } = await project.succeeds('plan', 'spec.yaml');
  assert.match(
    `${stderr}${stdout}`.replace(/\s+/g, ' '),
    /none of the first 2 of 12 rows, which kernels are computed over, is of class "spam"/,
  );
});

test('plan warns of two spellings of one condition, a dose or a target', async ({ project }) => {
  const told = async (poisoning: string): Promise<readonly string[]> => {
    project.write(
      'spec.yaml',
      spec({ poisoning }).replace('name: plan', 'name: plan\nseeds: [1, 2]'),
    );
    const { stdout, stderr } = await project.succeeds('plan', 'spec.yaml');
    const found =
      /(spec\.yaml:\S*) (poisoning\S* \S*) does on these rows what (poisoning\S* \S*) does/g;
    const text = `${stderr}${stdout}`.replace(/\s+/g, ' ');
    return [...text.matchAll(found)].map(([, ...parts]) => parts.join(' '));
  };
  assert.equal(await told('attack: label-flip, rate: [0.25, 0.3, 0.34]'), [
    'spec.yaml:5:47: poisoning.rate 0.3 poisoning.rate 0.25',
  ]);
  assert.equal(await told('attack: badnets, target: [ham, 0, 1], rate: 0.25'), [
    'spec.yaml:5:45: poisoning.target 0 poisoning.target "ham"',
  ]);
  project.write(
    'spec.yaml',
    spec({}).replace(
      '{ attack: none }',
      '[{ attack: label-flip, rate: 0.25 }, { attack: label-flip, count: 3 }]',
    ),
  );
  assert.match(
    (await project.succeeds('plan', 'spec.yaml')).stderr.replace(/\s+/g, ' '),
    'poisoning.count 3 does on these rows what poisoning.rate 0.25 does: one condition in two',
  );
});

test('results, diff and the report say which conditions count twice', async ({ project }) => {
  const poisoning = 'attack: label-flip, rate: [0.25, 0.3]';
  project.write('spec.yaml', spec({ poisoning, more: 'stages: [evaluate, report]' }));
  await project.succeeds('run', 'spec.yaml');
  const said = 'poisoning.rate 0.3 does on these rows what poisoning.rate 0.25 does';
  assert.match(project.read('.dosimeter/reports/plan.html'), `<p class="notes">${said}`);
  for (const command of [
    ['results', 'spec.yaml'],
    ['diff', 'spec.yaml', 'spec.yaml'],
  ]) {
    const { stderr } = await project.succeeds(...command);
    assert.match(stderr.replaceAll(/\s+/g, ' '), said);
  }
  type Told = { cell: { 'poisoning.rate'?: number }; evidence: { warnings: string[] } };
  for (const { cell, evidence } of await project.json<Told[]>('results', 'spec.yaml', '--json'))
    assert.is(
      evidence.warnings.some((text) => text.startsWith(said)),
      cell['poisoning.rate'] === 0.3,
    );
});

test.run();
