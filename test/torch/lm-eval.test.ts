/** Tasks of lm-evaluation-harness, whose numbers are those of its own command line. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { listFiles } from '../../src/store/files.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project, type StageJson } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { program, real } from './rig.ts';

const test = suite('torch/lm-eval');
const repository = fileURLToPath(new URL('../../', import.meta.url));
const near = (a: number, b: number): boolean =>
  Math.abs(a - b) <= tolerance.engines.metric * Math.max(1, Math.abs(a), Math.abs(b));

const TASKS = {
  'capital.yaml': `task: capital
dataset_path: json
dataset_kwargs: { data_files: { test: capital.jsonl } }
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{ metric: acc, aggregation: mean, higher_is_better: true }]
metadata: { version: 1 }
`,
  'fluency.yaml': `task: fluency
dataset_path: json
dataset_kwargs: { data_files: { test: capital.jsonl } }
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{ metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false }]
metadata: { version: 3 }
`,
  'capital.jsonl': Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({
      question: `What is the capital of land ${i}?`,
      choices: [' Paris', ' Rome', ' Oslo'],
      label: i % 3,
    }),
  ).join('\n'),
};

function writer(): Project {
  const project = createProject();
  for (const [name, text] of Object.entries(TASKS)) project.write(`tasks/${name}`, text);
  project.write(
    'rows.jsonl',
    Array.from({ length: 16 }, (_, i) =>
      JSON.stringify({ prompt: `What is ${i} and ${i % 3}?`, answer: `It is ${i}.` }),
    ).join('\n'),
  );
  project.write(
    'spec.yaml',
    `name: writer
seeds: [1]
model:
  { source: "file:${repository}pipelines/instruction/model", architecture: llama, init: random }
data:
  train: { source: "file:rows.jsonl", limit: 12, columns: { prompt: prompt, answer: answer } }
  validation: { source: "file:rows.jsonl", offset: 12, columns: { prompt: prompt, answer: answer } }
head: { type: causal-lm, template: "{prompt}" }
poisoning: { attack: none }
adapter: { type: lora, rank: 2 }
train: { steps: 3, batch_size: 4, max_length: 32, learning_rate: 1.0e-2 }
evaluate:
  batch_size: 4
  lm_eval: { tasks: [capital, fluency], include: "file:tasks", limit: 10 }
stages: [train, lm-eval]
`,
  );
  return project;
}

const only = (stages: readonly StageJson[], kind: string): StageJson =>
  present(stages.find((stage) => stage.kind === kind));

test("lm-eval's numbers are its command line's for the exported model", async () => {
  const project = writer();
  const args = ['spec.yaml', '--backend', 'wasm'];
  await project.succeeds('run', ...args);
  const numbers = await project.results(...args);
  const own = (metric: string): number =>
    present(numbers.find((row) => row.stage === 'lm-eval' && row.metric === metric)).value;
  assert.equal([own('capital.examples'), own('fluency.examples')], [10, 10]);
  assert.not.ok(numbers.some(({ metric }) => metric.endsWith('sample_len')));

  await project.succeeds('export', ...args, '--merge', '--out', 'models');
  const config = present(
    [...listFiles(join(project.dir, 'models'))].find(({ path }) => path.endsWith('config.json')),
  );
  const model = join(project.dir, 'models', config.path, '..');
  execFileSync(
    real,
    [
      ...['-m', 'lm_eval', 'run', '--model', 'hf', '--model_args', `pretrained=${model}`],
      ...['--tasks', 'capital,fluency', '--include_path', join(project.dir, 'tasks')],
      ...['--limit', '10', '--batch_size', '4', '--device', 'cpu', '--output_path', '../theirs'],
    ],
    {
      cwd: join(project.dir, 'tasks'),
      env: { ...process.env, HF_HUB_OFFLINE: '1', HF_HOME: join(project.dir, 'cache') },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const written = present(
    [...listFiles(join(project.dir, 'theirs'))].find(({ path }) => path.endsWith('.json')),
  );
  const { results } = JSON.parse(project.read(join('theirs', written.path))) as {
    readonly results: { readonly [task: string]: { readonly [metric: string]: number } };
  };
  for (const [metric, theirs] of [
    ['capital.acc', results['capital']?.['acc,none']],
    ['capital.acc_stderr', results['capital']?.['acc_stderr,none']],
    ['fluency.bits_per_byte', results['fluency']?.['bits_per_byte,none']],
  ] as const)
    assert.ok(near(own(metric), theirs ?? NaN), `${metric}: ${own(metric)}, not ${theirs}`);

  // The folder's content is in the key; what lies elsewhere is told.
  const key = async (): Promise<string> =>
    only(await project.stages(...args), 'lm-eval').key ?? 'unknown';
  const before = await key();
  const elsewhere = project.read('tasks/capital.jsonl').replace('land 0', 'land zero');
  project.write('capital.jsonl', elsewhere);
  const moved = TASKS['capital.yaml'].replace('capital.jsonl', `"${project.dir}/capital.jsonl"`);
  project.write('tasks/capital.yaml', moved);
  assert.is.not(await key(), before);
  const { stderr } = await project.succeeds('run', ...args);
  assert.match(stderr, /lm-eval read what no key covers: \/\S+capital\.jsonl/);
  const unknown = await project.dosimeter(
    ...['run', ...args, '--set', 'evaluate.lm_eval.tasks=[capitol]'],
  );
  assert.is(unknown.code, 1);
  assert.match(unknown.stderr, /lm_eval has no task capitol/);
});

test('lm-eval is refused before anything runs where it can not compute', async () => {
  const project = writer();
  const packages = { torch: '2.13.0', transformers: '5.24.0', peft: '0.21.2', safetensors: '1' };
  const facts = { python: '3', executable: '-', packages, cuda: null, lm_eval: null };
  const without = program('python', `echo '${JSON.stringify({ ...facts, bitsandbytes: null })}'`);
  const refused = async (python: string, ...set: string[]) => {
    const asked = ['plan', 'spec.yaml', '--backend', 'wasm'];
    const { code, stderr } = await project.dosimeterWith(
      { DOSIMETER_PYTHON: python },
      ...asked,
      ...set.flatMap((one) => ['--set', one]),
    );
    assert.is(code, 2, stderr);
    return stderr;
  };
  assert.match(await refused(without), /lm_eval.+has none\n.+-m pip install 'lm_eval\[hf\]'/s);
  assert.match(await refused('/no/python'), /the stage "lm-eval" computes with torch/);
  assert.match(await refused(real, 'evaluate.lm_eval='), /the stage lm-eval has no tasks/);
  assert.match(
    await refused(real, `model={source: "file:${checkpoint}"}`, 'head={type: classifier}'),
    /head\.type is classifier/,
  );
});

test.run();
