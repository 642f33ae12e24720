/**
 * The worked example of pipelines/command-attack on toy rows: an attack in Python, from a spec to a
 * receipt.
 */
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Row } from '../../src/api.ts';
import { checkReceipt, type Receipt } from '../../src/poisoning/receipt.ts';
import { present } from '../rig/present.ts';
import { createProject, outputText, type Project, type StageJson } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('command attack');
const example = fileURLToPath(
  new URL('../../pipelines/command-attack/shuffle_words.py', import.meta.url),
);

test.before.each((context) => {
  const project = (context.project = createProject());
  mkdirSync(path.join(project.dir, 'attacks'));
  copyFileSync(example, path.join(project.dir, 'attacks', 'shuffle_words.py'));
  const rows = Array.from({ length: 20 }, (_, i) => `the ${i} film was quite good\t${i % 2}\n`);
  project.write('rows.tsv', `text\tlabel\n${rows.join('')}`);
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

const poisonStages = async (project: Project): Promise<readonly StageJson[]> =>
  (await project.stages('spec.yaml')).filter(({ kind }) => kind === 'poison');
const statesOf = async (project: Project): Promise<string[]> =>
  (await poisonStages(project)).map(({ state }) => state);
const rowsOf = (stage: StageJson): Row[] =>
  outputText(stage, 'rows.jsonl')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
const receiptOf = (stage: StageJson): Receipt =>
  JSON.parse(outputText(stage, 'receipt.json')) as Receipt;

test('nothing is stored of a program that is edited while it runs', async ({ project }) => {
  const file = path.join(project.dir, 'attacks', 'shuffle_words.py');
  const before = `${project.read('attacks/shuffle_words.py')}
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
    assert.equal(await statesOf(project), ['ready', 'ready', 'ready', 'ready']);
  }
});

test('a Python program poisons as many rows as the spec asks for, chosen by its seed', async ({
  project,
}) => {
  await project.succeeds('run', 'spec.yaml');
  const done = await poisonStages(project);
  assert.equal(
    done.map(({ state }) => state),
    ['cached', 'cached', 'cached', 'cached'],
  );
  for (const stage of done) {
    const receipt = receiptOf(stage);
    const rows = rowsOf(stage);
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
    // The receipt has no path of this machine, so that the folder may be moved.
    assert.equal(receipt.params['files'], ['shuffle_words.py']);
  }
  const at = (seed: number, rate: number): Receipt =>
    receiptOf(
      present(done.find((stage) => stage.seed === seed && stage.cell['poisoning.rate'] === rate)),
    );
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
  assert.equal(await statesOf(project), ['ready', 'ready', 'ready', 'ready']);
});

test('the trigger of a Python backdoor is shown at evaluation, to the clean twin too', async ({
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
  const run = await project.succeeds('run', 'spec.yaml');
  const all = await project.stages('spec.yaml');
  const receipt = present(
    all
      .filter(({ kind }) => kind === 'poison')
      .map(receiptOf)
      .find(({ attack }) => attack === 'command'),
  );
  assert.is(receipt.counts.made, 4);
  assert.ok(
    receipt.rows.every(
      (row) => row.new.label === 1 && row.original.label === 0 && /[асеорху]/.test(row.new.text),
    ),
  );
  const metrics = all
    .filter(({ kind }) => kind === 'evaluate')
    .map((stage) => JSON.parse(outputText(stage, 'metrics.json')) as { [metric: string]: number });
  const poisoned = present(metrics.find((one) => 'asr' in one));
  const clean = present(metrics.find((one) => 'trigger_rate' in one));
  assert.equal(
    [poisoned['triggered_rows'], clean['triggered_rows'], poisoned['asr_clean']],
    [10, 10, clean['trigger_rate']],
  );
  assert.match(readFileSync(run.stdout.trim(), 'utf8'), /ASR/);

  // No key has a path of this machine: in a copy of the folder everything is cached.
  for (const name of ['attacks/homograph.py', 'rows.tsv', 'spec.yaml'])
    project.write(`moved/${name}`, project.read(name));
  const moved = await project.stages('moved/spec.yaml');
  assert.equal(
    moved.filter(({ state }) => state !== 'cached').map(({ kind }) => kind),
    [],
  );

  project.write(
    'attacks/homograph.py',
    `import json
rows = [json.loads(line) for line in open("rows.jsonl")]
rows[0]["text"] += " x"
json.dump(rows[0], open("poisoned.jsonl", "w"))
`,
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
  const program = 'command: [python3, shuffle_words.py], files: ["file:attacks/shuffle_words.py"]';
  const said = await project.dosimeter(
    ...['run', 'spec.yaml', '--set', `poisoning=[{attack: command, ${program}, target: 1}]`],
  );
  assert.match(said.stderr, /changed row "\w[^"]*" and gave it the label 0; the target is 1 \(1\)/);
});

test('a fault of a program names the program, and only its stage fails', async ({ project }) => {
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
    ...['plan', 'spec.yaml', '--set'],
    'poisoning=[{attack: command, command: [python3, x.py], files: ["file:attacks/x.py"]}]',
  );
  assert.is(missing.code, 2);
  assert.match(missing.stderr, /attacks\/x\.py/);
});

test.run();
