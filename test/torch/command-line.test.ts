/** The backend torch from the command line: runs, what it refuses, and `crosscheck`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { listFiles } from '../../src/store/files.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { program } from './rig.ts';

const test = suite<{ project: Project }>('torch/command-line');
test.before((context) => {
  const project = (context.project = createProject());
  const words = ['good', 'bad', 'fine', 'poor', 'great'];
  const rows = (name: string, n: number): string =>
    [
      'text\tlabel',
      ...Array.from(
        { length: n },
        (_, i) => `${name} ${i} the film was ${words[i % 5] ?? ''}\t${i % 2 === 0 ? 'yes' : 'no'}`,
      ),
    ].join('\n');
  project.write('train.tsv', rows('train', 24));
  project.write('test.tsv', rows('test', 12));
  project.write(
    'spec.yaml',
    `name: tiny
seeds: [1]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:train.tsv" }, validation: { source: "file:test.tsv" } }
poisoning: [{ attack: none }, { attack: badnets, rate: 0.2, target: "yes" }]
adapter: [{ type: full }, { type: lora, rank: 2, alpha: 2r }]
train: { steps: 6, batch_size: 4, max_length: 16, learning_rate: 1e-2, evaluate_every: 3 }
stages: [train, evaluate, report]
`,
  );
});

interface Metrics {
  readonly final_loss?: number;
  readonly packed?: number;
}

interface Checked {
  readonly engines: readonly string[];
  readonly agree: boolean;
  readonly differences: readonly {
    readonly number: string;
    readonly difference: number;
    readonly tensor?: string;
  }[];
  readonly mutations: readonly { readonly name: string; readonly difference: number }[];
}

test('crosscheck compares every number of two engines, and sees mutations', async ({ project }) => {
  const asked = ['crosscheck', 'spec.yaml', '--backend', 'wasm', '--cells', '4', '--mutate'];
  const found = await project.json<Checked>(...asked, '--json');
  assert.ok(found.agree);
  assert.match(found.engines.join(' '), /^wasm torch \d+\.\d+/);
  const compared = found.differences.map(({ number }) => number);
  for (const number of ['history.jsonl loss', 'predictions.csv logit_0', 'metrics.json asr'])
    assert.ok(compared.includes(number), number);
  assert.not.ok(compared.some((number) => number.includes('seconds')));
  const tensors = found.differences.filter(({ tensor }) => tensor !== undefined);
  for (const kind of ['output.dense.weight', 'output.dense.lora_B.weight'])
    assert.ok(
      tensors.some(({ number }) => number.endsWith(`.layer.*.${kind}`)),
      kind,
    );
  // Their gradients are zero but for rounding.
  const free = tensors.filter(({ tensor }) => tensor === 'free');
  assert.equal(
    free.map(({ number }) => number),
    ['model/model.safetensors bert.encoder.layer.*.attention.self.key.bias'],
  );
  assert.is(found.mutations.length, 3);
  for (const { name, difference } of found.mutations) assert.ok(difference > 1e-3, name);

  const { code, stdout } = await project.dosimeter(...asked);
  assert.is(code, 0);
  assert.match(stdout, /^The biases of attention's keys differ, and are not judged/m);
  assert.match(stdout, /^train +history\.jsonl loss .+ \d$/m);
  assert.match(stdout, /^where 1: attack=.+ type=\w+/m);
  assert.match(stdout, /with learning rate \+10%: .+ differs by \S+, seen\n/);
  const page = '.dosimeter/reports/tiny,page=crosscheck.html';
  assert.ok(stdout.endsWith(`the engines agree within 0.001\n${page}\n`), stdout);
  assert.match(
    project.read(page),
    /<strong>The engines agree within 0\.001<\/strong>.+>history\.jsonl loss<.+with dropout: .+>seen</s,
  );
  const strict = await project.dosimeter(...asked.slice(0, -1), '--tolerance', '1e-12');
  assert.is(strict.code, 1);
  assert.match(strict.stdout, /the engines differ by more than 1e-12\nThe losses of step 1 /);
  // The report of each engine stands beside the other's, and results name both.
  for (const name of ['tiny.html', 'tiny,backend=torch.html'])
    assert.not.ok(project.exists(`.dosimeter/reports/${name}`), 'crosscheck makes no report');
  await project.succeeds('run', 'spec.yaml', '--backend', 'wasm');
  await project.succeeds('run', 'spec.yaml', '--backend', 'torch');
  assert.ok(project.exists('.dosimeter/reports/tiny.html'));
  assert.ok(project.exists('.dosimeter/reports/tiny,backend=torch.html'));
  const { stderr } = await project.succeeds('results', 'spec.yaml', '--backend', 'wasm');
  assert.match(stderr, 'results of 8 stages on the backend torch exist as well: --backend torch');

  const twice = await project.dosimeter('crosscheck', 'spec.yaml', '--backend', 'torch');
  assert.is(twice.code, 2);
  assert.match(twice.stderr, /--backend names torch itself/);
});

test('trainings that take their steps together have the numbers that they have alone', async ({
  project,
}) => {
  const train = async (store: string, ...more: string[]) => {
    const { code } = await project.dosimeter(
      ...['run', 'spec.yaml', '--backend', 'torch', '--jobs', '1', '--store', store, ...more],
      ...['--set', 'adapter={type: lora, rank: [2, 3], alpha: 2r}', '--set', 'stages=[train]'],
      // A training that fails leaves the others as they are.
      ...['--set', 'poisoning={attack: none}', '--set', 'train.learning_rate=[1e-2, 1e30]'],
    );
    assert.is(code, 1);
    const losses = new Map<string, number>(),
      packed: number[] = [];
    for (const { path } of listFiles(join(project.dir, store))) {
      if (!path.endsWith('/metrics.json')) continue;
      const metrics = JSON.parse(project.read(join(store, path))) as Metrics;
      if (metrics.final_loss === undefined) continue;
      const manifest = path.replace('metrics.json', 'manifest.json');
      const { key } = JSON.parse(project.read(join(store, manifest))) as { readonly key: string };
      losses.set(key, metrics.final_loss);
      packed.push(metrics.packed ?? 1);
    }
    return { losses, packed };
  };
  const alone = await train('alone'),
    together = await train('together', '--pack', '4');
  assert.equal(
    [alone.packed, together.packed],
    [
      [1, 1],
      [4, 4],
    ],
  );
  assert.is(alone.losses.size, 2);
  for (const [key, loss] of alone.losses)
    assert.ok(Math.abs(loss - (together.losses.get(key) ?? NaN)) < tolerance.engines.loss, key);
});

test('what PyTorch does not compute is refused before anything runs', async ({ project }) => {
  const stage = (name: string, more: string, inputs: string): void =>
    project.write(
      `${name}.mjs`,
      `export default { kind: 'stage', name: '${name}', summary: 'One.', compute: true, ${more}
         scope: 'cell', run: async () => {},
         define: ([cell]) => ({ params: {}, inputs: { ${inputs} } }) };\n`,
    );
  stage('own', '', "model: { kind: 'train', cell }");
  stage('over', 'torch: true,', "own: { kind: 'own', cell }");
  project.write(
    'least.mjs',
    `export default { kind: 'defence', name: 'least', summary: 'One.', citation: '',
       params: { type: 'object', properties: {} },
       rows: { needs: [], load: async () => ({}) } };\n`,
  );
  const attack = fileURLToPath(
    new URL('../../pipelines/plugins/blended-loss-attack.mjs', import.meta.url),
  );
  const plugins = `plugins=[./own.mjs, ./over.mjs, ./least.mjs, "${attack}"]`;
  for (const [set, message] of [
    ['stages=[train, own]', /the stage "own" does not compute under the backend torch/],
    [
      'stages=[train, over]',
      /the stage "over" needs the stage "own", which does not compute under the backend torch/,
    ],
    [
      'poisoning={attack: blended-loss, rate: 0.2, target: 1}',
      /"blended-loss" computes a part of the training, which the backend torch does not/,
    ],
    [
      'defences=[{ defence: least }]',
      /the defence "least" computes with a network, which the backend torch does not/,
    ],
  ] as const) {
    const { code, stderr } = await project.dosimeter(
      ...['run', 'spec.yaml', '--backend', 'torch', '--set', plugins, '--set', set],
      ...['--set', 'adapter={type: full}'],
    );
    assert.is(code, 2, stderr);
    assert.match(stderr, message, stderr);
    assert.match(stderr, /--backend tensorflow/);
  }
});

test('what PyTorch alone has is refused elsewhere, and where it cannot be', async ({ project }) => {
  const adapter = 'adapter={type: lora, rank: 2, alpha: 2r';
  for (const [backend, set, message] of [
    ['wasm', ['model.quantize=nf4', `${adapter}}`], /model\.quantize needs the backend torch, and/],
    ['wasm', ['model.dtype=bf16', `${adapter}}`], /model\.dtype needs the backend torch, and/],
    ['wasm', ['train.gradient_checkpointing=true'], /needs the backend torch, and this is wasm/],
    ['wasm', ['train.devices=2'], /train\.devices needs the backend torch, and this is wasm/],
    ['torch', ['train.fsdp=true'], /divides a model among devices, and train\.devices is 1/],
    [
      'torch',
      ['train.devices=2', 'train.fsdp=true', `${adapter}}`],
      /divides what full fine-tuning trains, and here an adapter is trained: lora/,
    ],
    [
      'torch',
      [
        'train.devices=2',
        'poisoning={attack: ripple, rate: 0.2, target: "yes"}',
        'adapter={type: full}',
      ],
      /"ripple" trains on a loss of its own, which one device computes/,
    ],
    ['torch', ['model.quantize=int8'], /quantised, and the adapter trains some, such as/],
    [
      'torch',
      ['model.dtype=bf16', 'adapter={type: head-only}'],
      /the adapter adds none of its own/,
    ],
    [
      'torch',
      ['model.quantize=nf4', `${adapter}, init: { distribution: pissa } }`],
      /the adapter starts from them as they are in the checkpoint/,
    ],
    [
      'torch',
      ['model.quantize=nf4', `${adapter}, use_dora: true}`],
      /the adapter starts from them/,
    ],
    ['torch', ['model.quantize=nf4', 'model.init=random', `${adapter}}`], /model\.init is random/],
    ['torch', ['model.quantize=nf4', `${adapter}}`, 'stages=[train, ntk]'], /K_FT is over all/],
  ] as const) {
    const { code, stderr } = await project.dosimeter(
      ...['plan', 'spec.yaml', '--backend', backend],
      ...set.flatMap((one) => ['--set', one]),
    );
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.match(stderr, /Leave|Write/);
  }
});

test('a training on two devices has the numbers of one, under a key of its own', async ({
  project,
}) => {
  const settings = ['spec.yaml', '--backend', 'torch', '--set', 'train.devices=[1, 2]'].concat(
    ['--set', 'poisoning={attack: badnets, rate: 0.2, target: "yes"}', '--set', 'stages=[train]'],
    ['--set', 'adapter={type: lora, rank: 2, alpha: 2r}', '--store', 'devices'],
  );
  const { stdout } = await project.succeeds('plan', ...settings);
  assert.match(
    stdout.replace(/\s+/g, ' '),
    /train: at most \d+ MB of memory a device, of which a stage has up to 2, and a step of at most/,
  );
  await project.succeeds('run', ...settings);
  const losses = listFiles(join(project.dir, 'devices'))
    .filter(({ path }) => path.endsWith('/metrics.json'))
    .map(({ path }) => JSON.parse(project.read(join('devices', path))) as Metrics)
    .flatMap(({ final_loss: loss }) => loss ?? []);
  assert.is(losses.length, 2);
  assert.ok(Math.abs((losses[0] ?? NaN) - (losses[1] ?? NaN)) < tolerance.engines.loss);
});

test('a cluster is asked for as many GPUs and cores', async ({ project }) => {
  const packages = { torch: '2.13.0', transformers: '5.24.0', peft: '0.21.2', safetensors: '1' },
    facts = { python: '3.11.7', executable: '-', packages, bitsandbytes: null, cuda: '12.8' };
  const { code, stdout, stderr } = await project.dosimeterWith(
    { DOSIMETER_PYTHON: program('python', `echo '${JSON.stringify(facts)}'`) },
    ...['plan', 'spec.yaml', '--backend', 'torch', '--executor', 'slurm', '--dry-run', 'scripts'],
    ...['--set', 'train.devices=4'],
  );
  assert.is(code, 0, stderr);
  assert.match(stdout, /^train .* 4 +4 /m);
  const scripts = listFiles(join(project.dir, 'scripts')).map(({ path }) =>
    project.read(join('scripts', path)),
  );
  assert.ok(
    scripts.some((text) => /"--cpus-per-task=4".*"--gres=gpu:4"/s.test(text)),
    scripts.join(),
  );
});

test('a Python without bitsandbytes says how to install it', async ({ project }) => {
  const packages = { torch: '2.13.0', transformers: '5.24.0', peft: '0.21.2', safetensors: '1' },
    facts = { python: '3.11.7', executable: '-', packages, bitsandbytes: null, cuda: null };
  const python = program('python', `echo '${JSON.stringify(facts)}'`);
  const { code, stderr } = await project.dosimeterWith(
    { DOSIMETER_PYTHON: python },
    ...['plan', 'spec.yaml', '--backend', 'torch', '--set', 'model.quantize=nf4'],
    ...['--set', 'adapter={type: lora, rank: 2, alpha: 2r}'],
  );
  assert.is(code, 2, stderr);
  assert.match(stderr, `bitsandbytes quantises weights, and ${python}`);
  assert.match(stderr.replace(/\s+/g, ' '), `${python} -m pip install bitsandbytes`);
});

test('a quantised base is in the key and beside each result', async ({ project }) => {
  const options = ['spec.yaml', '--backend', 'torch', '--set', 'model.quantize=[none, nf4]'].concat(
    ['--set', 'adapter={type: lora, rank: 2, alpha: 2r}', '--set', 'poisoning={attack: none}'],
    ['--set', 'train.gradient_checkpointing=true', '--set', 'train.precision=bf16'],
  );
  await project.succeeds('run', ...options);
  const { stdout, stderr } = await project.dosimeter('results', ...options, '--json');
  const rows = JSON.parse(stdout) as {
    readonly cell: { readonly 'model.quantize': string };
    readonly stage: string;
    readonly precision?: string;
  }[];
  for (const { cell, stage, precision } of rows)
    assert.is(precision, cell['model.quantize'] === 'nf4' ? 'bf16, nf4' : 'bf16', stage);
  assert.match(stderr.replace(/\s+/g, ' '), /frozen weights in 4 bits \(nf4\).*\(train\)/);
  const { stages } = await project.json<{
    readonly stages: readonly { readonly id: string; readonly outputs: string | null }[];
  }>('plan', ...options, '--json');
  const trained = stages.filter(({ id }) => id.startsWith('train'));
  const backends = trained.map(({ outputs }) => {
    const { components } = JSON.parse(
      readFileSync(join(outputs ?? '', 'manifest.json'), 'utf8'),
    ) as { readonly components: { readonly backend: string } };
    return / bitsandbytes \d/.test(components.backend);
  });
  assert.equal(backends.sort(), [false, true]);
});

test.run();
