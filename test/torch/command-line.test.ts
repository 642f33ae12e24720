/** The backend torch from the command line: runs, what it refuses, and `crosscheck`. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

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
  assert.match(stdout, /with learning rate \+10%: .+ differs by \S+, seen\n/);
  assert.match(stdout, /the engines agree within 0\.001\n$/);
  const strict = await project.dosimeter(...asked.slice(0, -1), '--tolerance', '1e-12');
  assert.is(strict.code, 1);
  assert.match(strict.stdout, /the engines differ by more than 1e-12\nThe losses of step 1 /);
  const twice = await project.dosimeter('crosscheck', 'spec.yaml', '--backend', 'torch');
  assert.is(twice.code, 2);
  assert.match(twice.stderr, /--backend names torch itself/);
});

test('what PyTorch does not compute is refused before anything runs', async ({ project }) => {
  for (const [set, message] of [
    ['stages=[train,spectrum]', /the stage "spectrum" does not compute under the backend torch/],
    [
      'poisoning={attack: ripple, rate: 0.2, target: "yes"}',
      /"ripple" computes a part of the training, which the backend torch does not/,
    ],
  ] as const) {
    const { code, stderr } = await project.dosimeter(
      ...['run', 'spec.yaml', '--backend', 'torch', '--set', set],
      ...['--set', 'adapter={type: full}'],
    );
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.match(stderr, /--backend tensorflow/);
  }
});

test.run();
