/** The worked example of pipelines/command-attack, on toy rows: an attack in Python from a spec to a receipt. */
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Row } from '../../src/api.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import { checkReceipt } from '../../src/poisoning/receipt.ts';
import type { Project } from '../rig/project.ts';
import { createProject } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('command attack');
const example = fileURLToPath(
  new URL('../../pipelines/command-attack/shuffle_words.py', import.meta.url),
);
interface Stage {
  readonly kind: string;
  readonly seed: number | null;
  readonly state: string;
  readonly cell: { readonly [path: string]: unknown };
  readonly outputs: string | null;
}

test.before.each((context) => {
  const project = (context.project = createProject());
  mkdirSync(path.join(project.dir, 'attacks'));
  copyFileSync(example, path.join(project.dir, 'attacks', 'shuffle_words.py'));
  project.write(
    'rows.tsv',
    `text\tlabel\n${Array.from({ length: 20 }, (_, i) => `the ${i} film was quite good\t${i % 2}`).join('\n')}\n`,
  );
  project.write(
    'spec.yaml',
    `name: python
seeds: [1, 2]
model: { source: "file:${checkpoint}" }
data:
  train: { source: "file:rows.tsv" }
  validation: { source: "file:rows.tsv" }
poisoning:
  - attack: command
    command: [python3, shuffle_words.py]
    files: ["file:attacks/shuffle_words.py"]
    rate: [0.1, 0.2]
    options: { mark: verily }
stages: [poison]
`,
  );
});
test.after.each(({ project }) => project.clean());

const stages = async (project: Project): Promise<readonly Stage[]> =>
  (await project.json<{ stages: Stage[] }>('plan', 'spec.yaml', '--json')).stages.filter(
    ({ kind }) => kind === 'poison',
  );
const rowsOf = ({ outputs }: Stage): Row[] =>
  readFileSync(path.join(outputs!, 'rows.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
const receiptOf = ({ outputs }: Stage): Receipt =>
  JSON.parse(readFileSync(path.join(outputs!, 'receipt.json'), 'utf8')) as Receipt;

test('a program that is edited while it runs: nothing is kept under the key of what it was', async ({
  project,
}) => {
  const file = path.join(project.dir, 'attacks', 'shuffle_words.py'),
    before = `${project.read('attacks/shuffle_words.py')}
with open(${JSON.stringify(file)}, "a") as own:  # as an editor does, at an unlucky moment
    own.write("# edited\\n")
`;
  project.write('attacks/shuffle_words.py', before);
  const run = await project.dosimeter('run', 'spec.yaml');
  assert.is(run.code, 1, run.stderr);
  assert.match(
    run.stderr,
    /a source was changed while it ran: file:\S+shuffle_words\.py was written to/,
  );
  for (const text of [before, `${before}# edited\n`]) {
    project.write('attacks/shuffle_words.py', text);
    assert.equal(
      (await stages(project)).map(({ state }) => state),
      ['ready', 'ready', 'ready', 'ready'],
    );
  }
});

test('a Python program poisons exactly what it is asked for, by a seed of the spec; its content is in the key', async ({
  project,
}) => {
  const run = await project.dosimeter('run', 'spec.yaml');
  assert.is(run.code, 0, run.stderr);
  const done = await stages(project);
  assert.equal(
    done.map(({ state }) => state),
    ['cached', 'cached', 'cached', 'cached'],
  );
  for (const stage of done) {
    const receipt = receiptOf(stage),
      rows = rowsOf(stage);
    assert.is(checkReceipt(rows, receipt), null);
    assert.is(receipt.counts.made, stage.cell['poisoning.rate'] === 0.1 ? 2 : 4);
    assert.ok(
      receipt.rows.every(
        (row) =>
          row.new.text.endsWith(' verily') &&
          row.new.label === 1 - row.original.label &&
          row.new.text !== row.original.text,
      ),
    );
    // No path of this machine's in what is kept, so that a folder may be moved.
    assert.equal(receipt.params['files'], ['shuffle_words.py']);
  }
  const at = (seed: number, rate: number): Receipt =>
    receiptOf(done.find((stage) => stage.seed === seed && stage.cell['poisoning.rate'] === rate)!);
  assert.ok(
    at(1, 0.1).rows.every((row) =>
      at(1, 0.2).rows.some((other) => JSON.stringify(other) === JSON.stringify(row)),
    ),
    'the rows of a smaller dose are among those of a larger one',
  );
  assert.is.not(JSON.stringify(at(1, 0.2).rows), JSON.stringify(at(2, 0.2).rows));

  project.write(
    'attacks/shuffle_words.py',
    `${project.read('attacks/shuffle_words.py')}\n# edited\n`,
  );
  assert.equal(
    (await stages(project)).map(({ state }) => state),
    ['ready', 'ready', 'ready', 'ready'],
  );
});

test('a Python backdoor: its trigger is shown at evaluation, to the clean twin too; no path of a machine is in a key', async ({
  project,
}) => {
  copyFileSync(
    path.join(path.dirname(example), 'homograph.py'),
    path.join(project.dir, 'attacks', 'homograph.py'),
  );
  project.write(
    'spec.yaml',
    project
      .read('spec.yaml')
      .replace(
        /poisoning:[^]*/,
        `poisoning:
  - { attack: command, command: [python3, homograph.py], files: ["file:attacks/homograph.py"], target: 1, rate: 0.2 }
adapter: { type: lora, rank: 2 }
train: { steps: 2, batch_size: 4, max_length: 16 }
stages: [evaluate, report]
`,
      )
      .replace('seeds: [1, 2]', 'seeds: [1]'),
  );
  const run = await project.dosimeter('run', 'spec.yaml');
  assert.is(run.code, 0, run.stderr);
  const all = (await project.json<{ stages: Stage[] }>('plan', 'spec.yaml', '--json')).stages;
  const receipt = all
    .filter(({ kind }) => kind === 'poison')
    .map(receiptOf)
    .find(({ attack }) => attack === 'command')!;
  assert.is(receipt.counts.made, 4);
  assert.ok(
    receipt.rows.every(
      (row) => row.new.label === 1 && row.original.label === 0 && /[асеорху]/.test(row.new.text),
    ),
  );
  const metrics = all
    .filter(({ kind }) => kind === 'evaluate')
    .map(
      ({ outputs }) =>
        JSON.parse(readFileSync(path.join(outputs!, 'metrics.json'), 'utf8')) as {
          [metric: string]: number;
        },
    );
  const poisoned = metrics.find((one) => 'asr' in one)!,
    clean = metrics.find((one) => 'trigger_rate' in one)!;
  assert.equal(
    [poisoned['triggered_rows'], clean['triggered_rows'], poisoned['asr_clean']],
    [10, 10, clean['trigger_rate']],
  );
  assert.match(readFileSync(run.stdout.trim(), 'utf8'), /ASR/);

  // The very same folder elsewhere: everything is cached.
  for (const name of ['attacks/homograph.py', 'rows.tsv', 'spec.yaml'])
    project.write(`moved/${name}`, project.read(name));
  const moved = (
    await project.json<{ stages: { kind: string; state: string }[] }>(
      'plan',
      'moved/spec.yaml',
      '--json',
    )
  ).stages;
  assert.equal(
    moved.filter(({ state }) => state !== 'cached').map(({ kind }) => kind),
    [],
  );

  project.write(
    'attacks/homograph.py',
    'import json\nrows = [json.loads(line) for line in open("rows.jsonl")]\nrows[0]["text"] += " x"\njson.dump(rows[0], open("poisoned.jsonl", "w"))\n',
  );
  assert.match(
    (await project.dosimeter('run', 'spec.yaml')).stderr,
    /poisoned\.jsonl has 1 rows; 20 were handed over/,
  );
});

test("a backdoor's rows get the target's label", async ({ project }) => {
  project.write(
    'attacks/shuffle_words.py',
    `import json
with open("rows.jsonl") as file: rows = [json.loads(line) for line in file]
rows[0].update(text="x", label=0)
with open("poisoned.jsonl", "w") as file: file.writelines(json.dumps(row) + chr(10) for row in rows)
`,
  );
  const said = await project.dosimeter(
    'run',
    'spec.yaml',
    '--set',
    'poisoning=[{attack: command, command: [python3, shuffle_words.py], files: ["file:attacks/shuffle_words.py"], target: 1}]',
  );
  assert.match(said.stderr, /changed row "\w[^"]*" and gave it the label 0; the target is 1 \(1\)/);
});

test('what a program does wrong is told by name, and fails its stage alone', async ({
  project,
}) => {
  project.write(
    'attacks/shuffle_words.py',
    'import sys\nprint("started")\nsys.exit("no rows today")\n',
  );
  const failed = await project.dosimeter('run', 'spec.yaml');
  assert.is(failed.code, 1);
  assert.match(
    failed.stderr,
    'the command "python3 shuffle_words.py" ended with exit code 1: started\nno rows today',
  );
  project.write(
    'attacks/shuffle_words.py',
    'import shutil\nshutil.copy("rows.jsonl", "poisoned.jsonl")\n',
  );
  assert.match(
    (await project.dosimeter('run', 'spec.yaml')).stderr,
    /the command was asked to change 2 rows and changed 0|was asked to change 4 rows and changed 0/,
  );
  project.write('attacks/shuffle_words.py', 'print("nothing")\n');
  assert.match((await project.dosimeter('run', 'spec.yaml')).stderr, /wrote no poisoned\.jsonl/);
  const missing = await project.dosimeter(
    'plan',
    'spec.yaml',
    '--set',
    'poisoning=[{attack: command, command: [python3, x.py], files: ["file:attacks/x.py"]}]',
  );
  assert.is(missing.code, 2);
  assert.match(missing.stderr, /attacks\/x\.py/);
});

test.run();
