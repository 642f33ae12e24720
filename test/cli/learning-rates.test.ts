/**
 * `dosimeter learning-rates` on the tiny BERT, from a spec to the lines that are pasted into it.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { createProject, outputText, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('learning-rates');
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
  project.write('train.tsv', rows('train', 30));
  project.write('test.tsv', rows('test', 12));
  project.write(
    'spec.yaml',
    `name: tiny
seeds: [1, 2, 3]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:train.tsv", limit: 20 }, validation: { source: "file:test.tsv" } }
poisoning: [{ attack: none }, { attack: badnets, rate: 0.2, target: "yes" }]
adapter:
  - { type: full }
  - { type: lora, rank: [2, 3], alpha: 2r, when: { attack: badnets } }
train: { steps: 2, batch_size: 4, max_length: 16 }
stages: [train, evaluate, report]
profiles: { same: { notes: Ours. } }
`,
  );
});

const args = [
  ...'spec.yaml --backend wasm --seeds 2 --share 0.3 --rates 1e-3,1e-2 --rates'.split(' '),
  ...'full=1e-5,1e-4,1e-3'.split(' '),
];

interface Facts {
  readonly spec: string;
  readonly seeds: readonly number[];
  readonly held_out: { readonly rows: number; readonly majority_share: number };
  readonly adapters: readonly {
    readonly label: string;
    readonly chosen: number;
    readonly edge: string | null;
    readonly rates: readonly { readonly rate: number; readonly mean: number; readonly n: number }[];
  }[];
  readonly yaml: string;
}

test('each adapter is tried at its rates without an attack, and the best is chosen', async ({
  project,
}) => {
  const { adapters, seeds, held_out, yaml } = await project.json<Facts>(
    'learning-rates',
    ...args,
    '--json',
  );
  assert.equal(seeds, [1, 2]);
  assert.is(held_out.rows, 6);
  assert.equal(
    adapters.map(({ label, rates }) => [label, rates.map(({ rate }) => rate)]),
    [
      ['type=full', [1e-5, 1e-4, 1e-3]],
      ['type=lora rank=2', [1e-3, 1e-2]],
      ['type=lora rank=3', [1e-3, 1e-2]],
    ],
  );
  for (const { chosen, rates } of adapters) {
    const most = Math.max(...rates.map(({ mean }) => mean));
    assert.is(chosen, rates.find(({ mean }) => mean === most)?.rate);
    assert.ok(rates.every(({ n }) => n === 2));
  }
  assert.equal(
    (parse(yaml) as { adapter: unknown }).adapter,
    [{}, { rank: 2, alpha: '2r' }, { rank: 3, alpha: '2r' }].map((own, i) => ({
      type: i === 0 ? 'full' : 'lora',
      ...own,
      train: { learning_rate: adapters[i]?.chosen },
    })),
  );
});

test('a second call runs nothing, and prints the tables, the rule and the lines', async ({
  project,
}) => {
  const { code, stdout, stderr } = await project.dosimeter('learning-rates', ...args);
  assert.is(code, 0, stderr);
  assert.match(stderr, /nothing to do: \d+ stages cached\n/);
  assert.match(stdout, /^type=full\n {4}rate +accuracy +deviation +seeds\n/);
  assert.match(stdout, /▸ 1e-/);
  assert.match(
    stdout,
    /chosen: the highest mean accuracy on the held-out rows; of equal means the smallest rate \(6 rows, 2 seeds\)/,
  );
  assert.match(
    stdout,
    /\nadapter:\n {2}- \{ type: full, train: \{ learning_rate: 1\.0e-\d \} \}\n/,
  );
  // Two or three rates: whichever is best, one of them lies at an edge.
  assert.match(
    stderr,
    /type=lora rank=2: the best rate, 1e-\d, is the (lowest|highest) that was tried: widen the grid/,
  );
});

test('the held-out rows are neither trained on nor among the test rows', async ({ project }) => {
  const { spec } = await project.json<Facts>('learning-rates', ...args, '--json');
  const stages = await project.stages(spec, '--backend', 'wasm');
  const texts = stages
    .filter(({ kind }) => kind === 'data')
    .map((stage) =>
      outputText(stage, 'rows.jsonl')
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { text: string }).text),
    );
  assert.is(texts.length, 2, 'one set to train on, one to be scored on');
  const [held = [], trained = []] = [...texts].sort((a, b) => a.length - b.length);
  assert.equal([held.length, trained.length], [6, 14]);
  assert.equal(
    held.filter((text) => trained.includes(text)),
    [],
  );
  const source = project.lines('train.tsv').slice(1, 21);
  assert.equal(
    [...held, ...trained].sort(),
    source.map((line) => line.replace(/\t.*/, '')).sort(),
    'the rows that the spec trains on, and none of the test file',
  );
  assert.equal(
    [...new Set(stages.flatMap(({ cell }) => cell['poisoning.attack'] ?? []))],
    ['none'],
  );
});

test('another axis beside the adapter is named, and there are no lines to paste', async ({
  project,
}) => {
  const sweep = [
    'spec.yaml',
    ...['--backend', 'wasm', '--seeds', '1', '--share', '0.3', '--rates', '1e-3,1e-2'],
    ...['--set', 'train.batch_size=[4, 5]', '--set', 'adapter=[{ type: full }]'],
  ];
  const { adapters, yaml, ...facts } = await project.json<Facts & { other_axes: string[] }>(
    'learning-rates',
    ...sweep,
    '--json',
  );
  assert.equal(
    adapters.map(({ label }) => label),
    ['batch_size=4', 'batch_size=5'],
  );
  assert.equal([yaml, facts.other_axes], ['', ['train.batch_size']]);
  const { stdout, stderr } = await project.dosimeter(
    'learning-rates',
    ...[...sweep, '--profile', 'same'],
  );
  const file = project.read('.dosimeter/learning-rates/tiny,profile=same.yaml');
  assert.match(file, /^# Made by `dosimeter learning-rates spec\.yaml --profile same`: /);
  assert.not.match(stdout, /to paste|adapter:/);
  assert.match(
    stderr,
    /there are no lines to paste: separate rates were chosen for one adapter, by train\.batch_size/,
  );
});

test('a spec or an option that leaves no choice is refused', async ({ project }) => {
  for (const [more, words] of [
    [
      ['--set', 'data.train.limit=[10, 20]'],
      /data\.train\.limit is an axis of the grid[^]*--set data\.train\.limit=10/,
    ],
    [['--set', 'data.train.hold_out={ share: 0.5 }'], /data\.train\.hold_out is set already/],
    [
      ['--rates', 'bitfit=1e-3'],
      /--rates names the adapter "bitfit", which spec\.yaml does not train\n {2}its adapters are full, lora/,
    ],
    [['--rates', '1e-3,fast'], /--rates takes learning rates above 0, got "fast"/],
    [['--share', '1'], /--share takes a number between 0 and 1, got "1"/],
  ] as const) {
    const { code, stderr } = await project.dosimeter('learning-rates', ...args, ...more);
    assert.is(code, 2, stderr);
    assert.match(stderr, words);
  }
});

test('a folder that cannot be written to is reported, with a way out', async ({ project }) => {
  const other = createProject();
  for (const file of ['spec.yaml', 'train.tsv', 'test.tsv']) other.write(file, project.read(file));
  other.write('.dosimeter/learning-rates', 'a file');
  const { code, stderr } = await other.dosimeter('learning-rates', ...args);
  assert.is(code, 2, stderr);
  assert.match(
    stderr,
    /learning-rates: a file stands where a folder is needed \(ENOTDIR\)\n {2}run it in another folder/,
  );
});

test.run();
