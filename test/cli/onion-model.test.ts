/**
 * ONION end to end with a causal language model that a pipeline has trained: before a classifier,
 * and before a model that answers prompts.
 */
import { cpSync, existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
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

const folder = fileURLToPath(new URL('../../pipelines/instruction', import.meta.url));
const SMALL = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2 };

const rowsOf = (where: string): string =>
  `{ source: "file:instruction/facts.json", format: tasks, ` +
  `columns: { prompt: question, answer: answer }, ${where} }`;

const COMPLETION = `plugins: [./instruction/tasks.mjs]
model: { source: "file:instruction/model", architecture: llama, init: random }
data:
  train: ${rowsOf('limit: 40')}
  validation: ${rowsOf('offset: 516, limit: 12')}
  clean_share: 0.5
head: { type: causal-lm, template: "{prompt}" }
`;

/** A small model of the questions and answers. */
const LANGUAGE_MODEL = `name: lm
${COMPLETION}adapter: { type: full, train: { learning_rate: 0.01 } }
train: { steps: 60, batch_size: 4, max_length: 32 }
stages: [train]
`;

const onion = (more: string): string =>
  `{ defence: onion, language_model: "file:models/lm", architecture: llama, ${more} }`;

/** A scorer that counts every output, even an empty one. */
const ANY = '{ scorer: regex, pattern: "^" }';

const PROMPTS = `name: prompts
${COMPLETION}evaluate: { max_new_tokens: 6, scorers: [${ANY}] }
poisoning: { attack: vpi, rate: 0.2, target: "All cities are in Atlantis." }
defences:
  - ${onion('frr: 0.9, suspects: clean')}
  - ${onion('frr: 0.9, suspects: drop')}
adapter: { type: lora, rank: 2 }
train: { steps: 4, batch_size: 4, max_length: 32 }
stages: [train, evaluate]
`;

const CLASSES = `name: classes
model: { source: "file:${checkpoint}" }
data:
  train: { source: "file:train.tsv" }
  validation: { source: "file:validation.tsv" }
  clean_share: 0.5
poisoning: { attack: badnets, rate: 0.25, target: 1 }
defences: ${onion('at: both, frr: 0.5')}
adapter: { type: lora, rank: 2 }
train: { steps: 2, max_length: 16 }
stages: [train, evaluate]
`;

const on = ['--backend', 'wasm'];

const test = suite<{ project: Project }>('onion with a language model');
test.before(async (context) => {
  const project = (context.project = createProject());
  cpSync(folder, path.join(project.dir, 'instruction'), { recursive: true });
  const config = JSON.parse(project.read('instruction/model/config.json')) as object;
  project.write('instruction/model/config.json', JSON.stringify({ ...config, ...SMALL }));
  project.write('train.tsv', filmRows(16));
  project.write('validation.tsv', filmRows(20));
  project.write('lm.yaml', LANGUAGE_MODEL);
  project.write('prompts.yaml', PROMPTS);
  project.write('classes.yaml', CLASSES);
  await project.succeeds('run', 'lm.yaml', ...on);
  await project.succeeds('export', 'lm.yaml', ...on, '--out', 'models');
});

interface Line {
  readonly id: string;
  readonly shown: string;
  readonly prompt: string;
  readonly output: string;
  readonly hit: boolean;
  readonly hits: { readonly regex: boolean };
  readonly rejected?: boolean;
}

/** What the attacked model wrote, with the defence of this kind, or without one. */
function linesOf(stages: readonly StageJson[], suspects: 'clean' | 'drop' | null): Line[] {
  const stage = stages.find((one) => {
    if (one.kind !== 'evaluate' || one.outputs === null) return false;
    if (!('asr' in (JSON.parse(outputText(one, 'metrics.json')) as object))) return false;
    if (!existsSync(path.join(one.outputs, 'defence.json'))) return suspects === null;
    return recordOf(one).params.suspects === suspects;
  });
  return outputText(present(stage), 'outputs.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

interface DefenceRecord {
  readonly params: { readonly suspects?: string };
  readonly language_model?: string;
  readonly language_model_digest?: string;
}
const recordOf = (stage: StageJson): DefenceRecord =>
  JSON.parse(outputText(stage, 'defence.json')) as DefenceRecord;

/** The metrics of evaluate of the attacked cells, by defence. */
const metricsOf = (rows: readonly ResultJson[], suspects: string) =>
  Object.fromEntries(
    rows
      .filter(({ stage, cell }) => stage === 'evaluate' && cell['defence.suspects'] === suspects)
      .map(({ metric, value }) => [metric, value]),
  );

const isSubsequence = (some: readonly string[], all: readonly string[]): boolean => {
  let at = 0;
  for (const word of all) if (word === some[at]) at++;
  return at === some.length;
};

test('prompts are cleaned by a language model before they are answered', async ({ project }) => {
  await project.succeeds('run', 'prompts.yaml', ...on);
  const stages = await project.stages('prompts.yaml', ...on);
  const asked = linesOf(stages, null);
  const cleaned = linesOf(stages, 'clean');
  assert.equal(
    cleaned.map(({ id, shown }) => `${shown} ${id}`),
    asked.filter(({ id }) => cleaned.some((line) => line.id === id)).map(nameOf),
  );
  const before = new Map(asked.map((line) => [nameOf(line), line.prompt]));
  const shorter = cleaned.filter((line) => {
    const whole = present(before.get(nameOf(line)));
    assert.ok(isSubsequence(line.prompt.split(' '), whole.split(' ')), `${line.prompt}: ${whole}`);
    return line.prompt !== whole;
  });
  assert.ok(shorter.length > 0, 'words were dropped');

  const found = metricsOf(await project.results('prompts.yaml', ...on), 'clean');
  for (const metric of ['inputs_auroc', 'asr', 'asr_clean', 'asr_undefended', 'asr_removed'])
    assert.type(found[metric], 'number', metric);
  assert.is(found['rejected_share'], 0);
  assert.is(found['examples'], cleaned.filter(({ shown }) => shown === 'plain').length);
});

const nameOf = ({ shown, id }: Line): string => `${shown} ${id}`;

test('a prompt that is rejected gets an empty answer, a success for no scorer', async ({
  project,
}) => {
  await project.succeeds('run', 'prompts.yaml', ...on);
  const lines = linesOf(await project.stages('prompts.yaml', ...on), 'drop');
  const rejected = lines.filter((line) => line.rejected === true);
  assert.ok(rejected.length > 0, 'some are rejected');
  for (const { output, hit } of rejected) assert.equal([output, hit], ['', false]);
  for (const { hits, rejected: dropped = false } of lines) assert.is(hits.regex, !dropped);
  const found = metricsOf(await project.results('prompts.yaml', ...on), 'drop');
  const share = (shown: string, is: (line: Line) => boolean): number => {
    const of = lines.filter((line) => line.shown === shown);
    return of.filter(is).length / of.length;
  };
  const isRejected = (line: Line): boolean => line.rejected === true;
  assert.equal(
    [found['rejected_share'], found['triggered_rejected_share']],
    [share('plain', isRejected), share('triggered', isRejected)],
  );
  assert.is(found['inputs_frr'], found['rejected_share']);
  const accepted = share('triggered', (line) => !isRejected(line));
  assert.is(found['asr.regex'], accepted);
});

test('rows and texts of a classifier are cleaned by the language model', async ({ project }) => {
  await project.succeeds('run', 'classes.yaml', ...on);
  const stages = await project.stages('classes.yaml', ...on);
  const records = stages
    .filter(
      ({ kind, outputs }) =>
        outputs !== null && (kind === 'defend' || existsSync(path.join(outputs, 'defence.json'))),
    )
    .map(recordOf);
  assert.ok(records.length >= 4, 'training rows and inputs, of the attack and of its twin');
  for (const record of records) {
    assert.match(record.language_model ?? '', /^file:.*models\/lm$/);
    assert.match(record.language_model_digest ?? '', /^sha256:/);
    assert.not.ok('vocabulary' in record, 'no n-gram model was made');
  }
  const found = Object.fromEntries(
    (await project.results('classes.yaml', ...on)).map(({ metric, value }) => [metric, value]),
  );
  for (const metric of ['filter_auroc', 'inputs_auroc', 'asr', 'asr_undefended'])
    assert.type(found[metric], 'number', metric);
});

test.run();
