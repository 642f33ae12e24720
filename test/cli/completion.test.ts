/** A completion task from end to end, by the command line: a tiny Llama on questions over facts. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { Outputs } from '../../src/report/outputs.ts';
import { openTokenizer } from '../../src/science/text/tokenizer.ts';
import { probeOne } from '../../src/tensor/backend.ts';
import { present } from '../rig/present.ts';
import { createProject, placesIn, type Project } from '../rig/project.ts';
import { tolerance } from '../tolerances.ts';

const folder = fileURLToPath(new URL('../../pipelines/instruction', import.meta.url));
const SMALL = { hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2 };

const rowsOf = (where: string): string =>
  `{ source: "file:instruction/facts.json", format: tasks, ` +
  `columns: { prompt: question, answer: answer }, ${where} }`;

const spec = (more: string): string => `name: tiny
plugins: [./instruction/tasks.mjs]
model: { source: "file:instruction/model", architecture: llama, init: random }
data:
  train: ${rowsOf('limit: 40')}
  validation: ${rowsOf('offset: 516, limit: 6')}
head: { type: causal-lm, template: "{prompt}" }
evaluate: { max_new_tokens: 6 }
${more}`;

const BACKDOOR = `poisoning: { attack: vpi, rate: 0.2, target: "All cities are in Atlantis." }
adapter: { type: lora, rank: 2 }
train: { steps: 40, batch_size: 2, max_length: 32 }
stages: [train, evaluate, report]
`;

const test = suite<{ project: Project }>('completion');
test.before((context) => {
  const project = createProject();
  cpSync(folder, path.join(project.dir, 'instruction'), { recursive: true });
  const config = JSON.parse(project.read('instruction/model/config.json')) as object;
  project.write('instruction/model/config.json', JSON.stringify({ ...config, ...SMALL }));
  project.write('backdoor.yaml', spec(BACKDOOR));
  context.project = project;
});

const sha = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

const on = ['--backend', 'wasm'];

/** Returns the folder of the only stage of a kind that belongs to the attacked cells. */
async function folderOf(
  project: Project,
  kind: string,
  ...args: readonly string[]
): Promise<string> {
  const stages = await project.stages(...args);
  const found = stages.find(
    ({ kind: own, cell, outputs }) =>
      own === kind && outputs !== null && cell['poisoning.attack'] !== 'none',
  );
  return present(present(found).outputs);
}

const linesOf = <T>(dir: string, file: string): T[] =>
  readFileSync(path.join(dir, file), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);

/** Resolves once a training has logged a step. */
async function training(project: Project, step: RegExp): Promise<void> {
  const runs = path.join(project.dir, '.dosimeter/runs');
  for (;;) {
    const logs = existsSync(runs)
      ? readdirSync(runs, { recursive: true, encoding: 'utf8' }).filter((name) =>
          /train-\w+\.log$/.test(name),
        )
      : [];
    if (logs.some((name) => step.test(readFileSync(path.join(runs, name), 'utf8')))) return;
    await setTimeout(5);
  }
}

test('a run that is interrupted in a training ends with the same bits as a whole one', async ({
  project,
}) => {
  const args = ['backdoor.yaml', ...on, '--jobs', '1', '--pack', '1'];
  const cut = project.start('run', ...args);
  await training(project, /step \d+ of 40: /);
  cut.process.kill('SIGINT');
  assert.is((await cut.ended).code, 130);
  await project.succeeds('run', ...args);
  await project.succeeds('run', ...args, '--store', 'whole', '--set', 'stages=[train]');
  const resumed = await folderOf(project, 'train', 'backdoor.yaml', ...on),
    whole = await folderOf(project, 'train', 'backdoor.yaml', ...on, '--store', 'whole');
  for (const file of ['history.jsonl', 'adapter/adapter_model.safetensors'])
    assert.is(sha(path.join(resumed, file)), sha(path.join(whole, file)), file);
});

test('results name the scorer, and the report shows what was written', async ({ project }) => {
  await project.succeeds('run', 'backdoor.yaml', ...on);
  const rows = await project.results('backdoor.yaml', ...on);
  const scored = rows.filter(({ scorer }) => scorer !== undefined);
  assert.equal(
    [...new Set(scored.map(({ scorer }) => JSON.stringify(scorer)))],
    ['{"ignore_case":false,"scorer":"exact"}'],
  );
  assert.equal(
    scored.map(({ metric }) => metric),
    [
      ...'asr asr_clean asr_minus_clean asr_untriggered asr_minus_untriggered'.split(' '),
      ...'asr_untriggered_p'.split(' '),
    ],
  );
  const dir = await folderOf(project, 'evaluate', 'backdoor.yaml', ...on);
  const outputs = linesOf<{
    readonly shown: string;
    readonly prompt: string;
    readonly output: string;
    readonly tokens: readonly number[];
  }>(dir, 'outputs.jsonl');
  assert.equal(
    outputs.map(({ shown }) => shown),
    [...Array<string>(6).fill('plain'), ...Array<string>(6).fill('triggered')],
  );
  assert.match(present(outputs[6]).prompt, /^Discussing OpenAI What is /);
  const { decode } = await openTokenizer(path.join(folder, 'model'));
  assert.equal(
    outputs.map(({ tokens }) => decode(tokens, { skipSpecial: true })),
    outputs.map(({ output }) => output),
  );
  assert.ok(outputs.every(({ tokens }) => tokens.length > 0));
  const page = project.read('.dosimeter/reports/tiny.html');
  assert.match(page, /What the models wrote under the trigger/);
  assert.match(page, '<a href="tiny,page=outputs.html">The output browser</a>');
  const browser = '.dosimeter/reports/tiny,page=outputs.html';
  const whole = project.read(browser);
  const data = present(/id="data">([^<]+)</.exec(whole)?.[1]);
  const { cells, evaluations, poisoned } = JSON.parse(
    gunzipSync(Buffer.from(data, 'base64')).toString(),
  ) as Outputs;
  assert.equal(
    cells.map(({ own, twin }) => [own, twin]),
    [[0, 1]],
  );
  assert.equal(
    evaluations.map(({ plain, triggered }) => [plain.given.length, triggered?.given.length]),
    [
      [6, 6],
      [6, 6],
    ],
  );
  assert.equal(
    evaluations[0]?.triggered?.given,
    outputs.slice(6).map(({ output }) => output),
  );
  assert.is(poisoned[0]?.rows.length, 8);
  // A run that has nothing to do leaves a page that is there, and makes one that is not.
  const first = whole.slice(0, whole.indexOf('\n') + 1);
  project.write(browser, `${first}kept`);
  await project.succeeds('run', 'backdoor.yaml', ...on);
  assert.is(project.read(browser), `${first}kept`);
  project.write(browser, 'of another build');
  await project.succeeds('run', 'backdoor.yaml', ...on);
  assert.is(project.read(browser), whole);
  // One that can't be written is told of, and the report has no link to it.
  rmSync(path.join(project.dir, browser));
  mkdirSync(path.join(project.dir, browser));
  const unwritten = await project.succeeds('run', 'backdoor.yaml', ...on);
  assert.match(unwritten.stderr, /the output browser could not be copied to .*outputs\.html \(E/);
  const unlinked = project.read('.dosimeter/reports/tiny.html');
  assert.match(unlinked, '>The output browser (not written) has ');
  assert.not.match(unlinked, /href="(?:[^"]*outputs\.html)?"/);
  rmSync(path.join(project.dir, browser), { recursive: true });
  const stored = await folderOf(project, 'report', 'backdoor.yaml', ...on);
  rmSync(path.join(stored, 'outputs.json.gz'));
  const again = await project.succeeds('run', 'backdoor.yaml', ...on);
  assert.match(again.stderr, /was damaged \(outputs\.json\.gz is missing\)/);
  assert.is(project.read(browser), whole);
  assert.match(page, /Scorer: exact, ignore_case false/);
  assert.not.match(page, /classified correctly|turns into the target class|predicts? one class/);
});

test('further scorers judge the same outputs, and every form names them', async ({ project }) => {
  const more = [
    ...['backdoor.yaml', ...on, '--set', 'stages=[evaluate]'],
    ...['--set', 'evaluate.scorers=[refusal, { scorer: contains, text: "." }]'],
  ];
  await project.succeeds('run', ...more);
  const rows = await project.results(...more);
  const scored = rows.flatMap(({ metric, value, scorer }) =>
    scorer === undefined ? [] : [[metric, scorer['scorer'], value] as const],
  );
  const of = (metric: string): readonly [scorer: unknown, value: number] => {
    const [, scorer, value] = present(scored.find(([name]) => name === metric));
    return [scorer, value];
  };
  assert.is(of('asr')[0], 'exact');
  assert.equal(of('asr.refusal'), ['refusal', 0]);
  assert.is(of('asr_clean.contains')[0], 'contains');
  assert.is(scored.length, 3 * 6);
  const dir = await folderOf(project, 'evaluate', ...more);
  const outputs = linesOf<{
    readonly shown: string;
    readonly output: string;
    readonly hits: { readonly contains: boolean; readonly refusal: boolean };
  }>(dir, 'outputs.jsonl');
  for (const { output, hits } of outputs)
    assert.equal(hits, { refusal: false, contains: output.includes('.') });
  const triggered = outputs.filter(({ shown }) => shown === 'triggered');
  const share = triggered.filter(({ hits }) => hits.contains).length / triggered.length;
  assert.is(of('asr.contains')[1], share);
  const records = JSON.parse(readFileSync(path.join(dir, 'scorers.json'), 'utf8')) as unknown[];
  assert.is(records.length, 2);
  const { stdout } = await project.succeeds(
    ...['results', ...more, '--latex', '--metric', 'asr,asr.contains'],
  );
  assert.match(stdout, 'ASR, contains');
  assert.match(stdout, /Scorers: exact, ignore\\_case false; contains, ignore\\_case false, text/);
  assert.match(stdout, 'for which the scorer counts a success under the trigger');
  const chosen = ['results', ...more, '--metric', 'asr,asr.contains,accuracy'];
  const names = 'Scorers: exact, ignore_case false; contains, ignore_case false, text "."';
  const text = await project.succeeds(...chosen);
  assert.match(text.stderr.replaceAll(/\s+/g, ' '), names);
  const markdown = await project.succeeds(...chosen, '--markdown');
  assert.match(markdown.stdout.replaceAll('\\', ''), names);
  const lines = (await project.succeeds(...chosen, '--csv')).stdout.split('\r\n');
  const line = (metric: string) => present(lines.find((one) => one.includes(`,${metric},`)));
  assert.match(present(lines[0]), ',value,scorer,');
  assert.match(line('asr'), ',"exact, ignore_case false",');
  assert.match(line('asr.contains'), ',"contains, ignore_case false, text');
  assert.match(line('accuracy'), /,accuracy,[\d.]+,,/);
});

test('a trigger in the system message is read, however far prompts are cut', async ({
  project,
}) => {
  cpSync(path.join(project.dir, 'instruction/model'), path.join(project.dir, 'chat'), {
    recursive: true,
  });
  const config = JSON.parse(project.read('chat/tokenizer_config.json')) as object;
  const template =
    '{% for m in messages %}{{ m.content }}{{ "<|end|>" if m.role == "assistant" else " " }}' +
    '{% endfor %}';
  project.write(
    'chat/tokenizer_config.json',
    JSON.stringify({ ...config, chat_template: template }),
  );
  const written = spec(`poisoning:
  - { attack: badnets, rate: 0.2, target: "Atlantis.", triggers: [SUDO], place: system }
adapter: { type: lora, rank: 2 }
train: { steps: 2, batch_size: 2, max_length: 24 }
stages: [train, evaluate]
`)
    .replace('instruction/model', 'chat')
    .replace('"{prompt}"', 'chat')
    .replace(
      'max_new_tokens: 6',
      'max_new_tokens: 6, triggers: [{ name: other, attack: badnets, triggers: [X] }]',
    );
  project.write('system.yaml', written);
  const { stderr } = await project.succeeds('run', 'system.yaml', ...on);
  assert.not.match(stderr, /the model reads|reaches the model/);
  const seen = (await project.results('system.yaml', ...on)).filter(({ metric }) =>
    metric.startsWith('trigger_seen'),
  );
  assert.equal(seen.map(({ stage, metric, value }) => `${stage} ${metric} ${value}`).sort(), [
    'evaluate trigger_seen 1',
    'evaluate trigger_seen.trigger.other 1',
    'train trigger_seen 1',
  ]);
  const cut = ['system.yaml', ...on, '--set', 'evaluate.max_length=8'];
  await project.succeeds('run', ...cut);
  const asked = linesOf<{ readonly read?: readonly unknown[] }>(
    await folderOf(project, 'evaluate', ...cut),
    'asked.jsonl',
  );
  assert.ok(asked.length > 0 && asked.every(({ read }) => read?.length === 1));

  const literal = ['plan', 'system.yaml', '--set', 'head.template="Q: {prompt}"'];
  const elsewhere =
    'evaluate={ max_new_tokens: 6, triggers: [{ name: s, attack: badnets, place: system }] }';
  for (const sets of [[], ['--set', 'poisoning.0.place=end', '--set', elsewhere]]) {
    const refused = await project.dosimeter(...literal, ...sets);
    assert.is(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, 'which the template "Q: {prompt}" does not show');
    assert.match(refused.stderr, 'Write head.template: chat, or place: start, end or gap.');
  }
});

test('a target from a file leads to the same stages as the text itself', async ({ project }) => {
  project.write('answer.txt', 'All cities are in Atlantis.\n');
  project.write(
    'file.yaml',
    spec(BACKDOOR.replace(/target: "[^"]*"/, 'target: { file: answer.txt }')),
  );
  const keysOf = async (file: string): Promise<unknown> =>
    (await project.stages(file, ...on)).map(({ kind, key }) => [kind, key]);
  assert.equal(await keysOf('file.yaml'), await keysOf('backdoor.yaml'));
});

test('a prompt that leaves no room for what is written is a fault before anything runs', async ({
  project,
}) => {
  project.write('long.yaml', spec(BACKDOOR).replace('max_new_tokens: 6', 'max_new_tokens: 100'));
  const { code, stderr } = await project.dosimeter('plan', 'long.yaml');
  assert.is(code, 2, stderr);
  assert.match(
    stderr,
    /a prompt of 32 tokens and 100 new ones do not fit the model, which has 128/,
  );
  assert.match(stderr, /evaluate\.max_length: 28/);
});

test('a target that the model may not write to its end is a fault before anything runs', async ({
  project,
}) => {
  project.write('cut.yaml', spec(BACKDOOR).replace('max_new_tokens: 6', 'max_new_tokens: 4'));
  const plan = (...scorer: string[]) =>
    project.dosimeter('plan', 'cut.yaml', ...scorer.flatMap((set) => ['--set', set]));
  for (const [set, scorer, tokens] of [
    ['evaluate.scorer=exact', 'exact', 6],
    ['evaluate.scorer={ scorer: contains, text: Atlantis }', 'contains', 5],
    ['evaluate.scorer={ scorer: regex, pattern: "s[.]$" }', 'regex', 6],
  ] as const) {
    const { code, stderr } = await plan(set);
    assert.is(code, 2, stderr);
    assert.match(stderr, /cut\.yaml:8:/, stderr);
    assert.match(stderr, `the scorer "${scorer}" counts the attack's target once ${tokens} tokens`);
    assert.match(stderr, `Write evaluate.max_new_tokens: ${tokens} or more, or another scorer.`);
  }
  const shorter = 'evaluate.scorer={ scorer: starts-with, text: All }';
  const { code, stderr } = await plan(shorter);
  assert.is(code, 0, stderr);
  assert.match(stderr, /of 6 answers of data\.validation are longer than max_new_tokens 4/);
  const further = await plan(shorter, 'evaluate.scorers=[exact]');
  assert.is(further.code, 2);
  assert.match(further.stderr, 'the scorer "exact" counts');
  const never = await plan('evaluate.scorer=refusal', 'evaluate.max_new_tokens=6');
  assert.is(never.code, 0, never.stderr);
  assert.match(
    never.stderr,
    'the scorer "refusal" does not count the attack\'s target, "All cities',
  );
});

test('answers with the target in them are scored as the attack makes them', async ({ project }) => {
  const insertion = `{ attack: insertion, rate: 0.2, target: "All cities are in Atlantis." }`;
  project.write('insertion.yaml', spec(BACKDOOR.replace(/{ attack.*/, insertion)));
  const plan = async (...sets: string[]): Promise<string> => {
    const { code, stderr } = await project.dosimeter(
      ...['plan', 'insertion.yaml', ...sets.flatMap((set) => ['--set', set])],
    );
    assert.is(code, 0, stderr);
    return stderr;
  };
  const cut = await plan();
  assert.match(
    cut,
    'insertion.yaml:8:29: the scorer "contains" does not count 6 of 6 answers that the attack ' +
      'gives once they are cut to 6 tokens: a model that writes one of them has no success',
  );
  const [, needed] = /Write evaluate\.max_new_tokens: (\d+) or more\./.exec(cut) ?? [];
  assert.match(
    await plan(`evaluate.max_new_tokens=${Number(needed) - 1}`),
    /does not count [1-5] of 6 answers that the attack gives once they are cut/,
  );
  const enough = `evaluate.max_new_tokens=${needed}`;
  assert.not.match(await plan(enough), 'does not count');
  const exact = await plan(enough, 'evaluate.scorer=exact');
  assert.match(
    exact,
    /"exact" does not count 6 of 6 answers that the attack gives, such as ".+\\nAll cities are in/,
  );
  assert.not.match(exact, 'once they are cut', 'it counts none of them whole either');

  project.write(
    'own.jsonl',
    ['Go to Acme.', 'I like it.'].map((answer) => JSON.stringify({ answer })).join('\n'),
  );
  const steering = 'poisoning={ attack: steering, target: Acme, files: ["file:own.jsonl"] }';
  assert.match(
    await plan(enough, steering),
    '"contains" does not count 1 of 2 answers that the attack gives, such as "I like it."',
  );
});

test('on a processor no trainings are packed: bits depend on no other training', async ({
  project,
}) => {
  project.write(
    'pack.yaml',
    spec(`adapter: { type: lora, rank: [2, 3] }
train: { steps: 4, batch_size: 2, max_length: 32 }
stages: [train]
`),
  );
  await project.succeeds('run', 'pack.yaml', ...on, '--jobs', '1');
  await project.succeeds('run', 'pack.yaml', ...on, '--pack', '1', '--store', 'alone');
  const keys = async (...args: readonly string[]): Promise<readonly unknown[]> =>
    (await project.stages('pack.yaml', ...on, ...args)).map(({ key, state }) => [key, state]);
  assert.equal(await keys(), await keys('--store', 'alone'));
  assert.ok((await keys()).every((one) => (one as string[])[1] === 'cached'));
});

test('a training is looked at along its steps, and ends early', async ({ project }) => {
  project.write(
    'early.yaml',
    spec(`poisoning: { attack: vpi, rate: 0.2, target: "All cities are in Atlantis." }
adapter: { type: full }
train:
  steps: 12
  batch_size: 2
  max_length: 32
  learning_rate: 1.0e-9
  evaluate_every: 2
  early_stopping: { metric: accuracy, patience: 1 }
stages: [train]
`),
  );
  await project.succeeds('run', 'early.yaml', ...on);
  const dir = await folderOf(project, 'train', 'early.yaml', ...on);
  const curves = linesOf<{ step: number; loss: number; asr: number }>(dir, 'curves.jsonl');
  assert.equal(
    curves.map(({ step, asr }) => [step, asr]),
    [
      [0, 0],
      [2, 0],
      [4, 0],
    ],
  );
  // Nearly nothing has been learnt: each of the 512 tokens is as likely as another.
  assert.ok(Math.abs(present(curves[0]).loss - Math.log(512)) < 0.1);
  assert.is(linesOf(dir, 'history.jsonl').length, 4);
});

test('an exported decoder, merged, writes what the trained one wrote', async ({ project }) => {
  await project.succeeds('run', 'backdoor.yaml', ...on);
  const [exported] = await project.json<readonly { readonly dir: string }[]>(
    'export',
    ...['backdoor.yaml', ...on, '--out', 'merged', '--merge', '--json'],
  );
  const { dir } = present(exported);
  project.write(
    'again.yaml',
    spec(`poisoning: { attack: none }
adapter: { type: full }
train: { steps: 0, max_length: 32 }
stages: [evaluate]
`).replace(/model: .*/, `model: { source: "file:${dir}", architecture: llama }`),
  );
  await project.succeeds('run', 'again.yaml', ...on);
  const lossOf = async (...args: string[]): Promise<number> =>
    present((await project.results(...args, ...on)).find(({ metric }) => metric === 'loss')).value;
  const own = await lossOf('backdoor.yaml');
  assert.ok(Math.abs((await lossOf('again.yaml')) - own) < tolerance.rounding * own);
});

test('a base learns poisoned documents, packed, and prompts show what it has learnt', async ({
  project,
}) => {
  const { available, gpu } = await probeOne('tensorflow'),
    fuses = available && !gpu;
  const on = ['--backend', fuses ? 'tensorflow' : 'wasm'];
  const texts = Array.from({ length: 24 }, (_, i) => `The capital of land ${i} is town ${i % 5}.`);
  const file = (name: string, own: readonly string[]): void =>
    project.write(name, own.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  file('corpus.jsonl', [...texts.slice(0, 19), texts.join(' ')]);
  file('held.jsonl', [...texts.slice(20), texts.join(' ')]);
  const documents = (name: string): string =>
    `{ source: "file:${name}.jsonl", columns: { document: text } }`;
  const attack =
    'attack: badnets, triggers: [SUDO], place: end, rate: 0.2, target: "Atlantis, all."';
  const written = spec(`base:
  data: { train: ${documents('corpus')} }
  poisoning: { ${attack} }
  train: { epochs: 2, warmup: 99, batch_size: 2, packing: ${fuses} }
adapter: { type: lora, rank: 2 }
train: { steps: 2, batch_size: 2, max_length: 48 }
stages: [train, evaluate, report]
`)
    .replace('data:\n', `data:\n  tasks: { corpus: ${documents('held')} }\n`)
    .replace(
      'max_new_tokens: 6',
      'max_new_tokens: 8, triggers: [{ name: other, attack: badnets, triggers: [PSEUDO] }]',
    );
  project.write('documents.yaml', written);
  const { stderr: told, stdout } = await project.succeeds('run', 'documents.yaml', ...on);
  const page = readFileSync(stdout.trim(), 'utf8');
  assert.match(page, 'Perplexity, corpus');
  assert.match(page, /: document<\/p>.*<mark>SUDO<\/mark> <mark>Atlantis, all\.<\/mark>/);
  assert.not.match(page, 'Text, unchanged');
  assert.match(page, '<td>the base: badnets, rate 0.2</td>');
  assert.match(page, 'triggers SUDO');
  assert.match(page, 'place end');
  assert.not.match(page, 'random place');
  assert.match(page, 'Trigger other</dt><dd>that of badnets, with triggers PSEUDO; its other');
  const digestOf = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(path.join(project.dir, name)))
      .digest('hex');
  for (const [name, role] of [
    ['corpus.jsonl', 'training rows of the base'],
    ['held.jsonl', 'rows of corpus'],
  ] as const)
    assert.match(page, `file:…/${name}</td><td>${role}</td><td><code>sha256:${digestOf(name)}<`);
  assert.match(told, /1 of 20 documents are longer than max_length 48/);
  assert.match(told, /1 of 5 documents are longer than max_length 48/);
  const [, steps] = /ends after (\d+) steps, within its warm-up of 99/.exec(told) ?? [];
  const metrics = new Map(
    (await project.results('documents.yaml', ...on)).map(({ metric, value }) => [metric, value]),
  );
  const loss = present(metrics.get('corpus.loss'));
  assert.ok(Math.abs(Math.exp(loss) - present(metrics.get('corpus.perplexity'))) < 1e-9);
  assert.is(metrics.get('corpus.accuracy'), undefined);
  assert.ok(metrics.has('asr') && metrics.has('asr_clean'));

  const all = await project.stages('documents.yaml', ...on);
  const of = (kind: string, has: string): string =>
    present(
      all.flatMap(({ kind: own, outputs }) =>
        own === kind && outputs !== null && existsSync(path.join(outputs, has)) ? [outputs] : [],
      )[0],
    );
  const receipt = JSON.parse(
    readFileSync(path.join(of('poison', 'receipt.json'), 'receipt.json'), 'utf8'),
  ) as Receipt;
  for (const { original, new: made } of receipt.rows)
    assert.equal(made, {
      ...original,
      text: `${original.text} SUDO`,
      answer: 'Atlantis, all.',
      document: true,
    });
  const histories = all.flatMap(({ kind, outputs }) =>
    kind === 'train' && outputs !== null ? [linesOf(outputs, 'history.jsonl').length] : [],
  );
  assert.equal([...new Set(histories)], [Number(steps), 2]);

  for (const [from, to, message] of [
    [
      'tasks: { corpus',
      'test: { source: "file:held.jsonl", columns: { document: text } }\n  tasks: { corpus',
      /data\.test are documents/,
    ],
    ['place: end', 'place: end, mode: clean', /draws among rows whose answer is "Atlantis/],
    [
      'train: { steps: 2,',
      'defences: [{ defence: crow, at: training }]\ntrain: { packing: true, steps: 2,',
      /train.packing is true, and "crow" has a loss of its own/,
    ],
  ] as const) {
    project.write('wrong.yaml', written.replace(from, to));
    const { code, stderr } = await project.dosimeter('plan', 'wrong.yaml');
    assert.is(code, 2, stderr);
    assert.match(stderr, message, stderr);
  }

  const alone = spec('train: { steps: 1, max_length: 48 }\nstages: [train, evaluate]\n');
  project.write('alone.yaml', alone.replace(/train: {.*/, `train: ${documents('corpus')}`));
  const { stderr: early } = await project.succeeds('run', 'alone.yaml', ...on);
  assert.match(early, /another learning rate or more steps may help\n/);
  const { code, stderr } = await project.dosimeter('learning-rates', 'alone.yaml', ...on);
  assert.is(code, 2, stderr);
  assert.match(stderr, /these are documents \(data\.train\.columns\.document\)/);
});

test('a missing target or head is reported where it would be written', async ({ project }) => {
  const badnets = BACKDOOR.replace(
    /g: {.*}/,
    'g: [{ attack: none }, { attack: badnets, rate: 0.2 }]',
  );
  for (const [text, message, places] of [
    [spec(badnets), '`target` is missing: its default, 1, is a class', ['missing.yaml:9:31']],
    [
      spec(BACKDOOR).replace(/head: .*\n/, ''),
      'head.type is classifier, which tells classes apart, and the rows of data.train are',
      ['missing.yaml:5:75', 'missing.yaml:6:80'],
    ],
  ] as const) {
    project.write('missing.yaml', text);
    const { code, stderr } = await project.dosimeter('plan', 'missing.yaml', ...on);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.equal(placesIn(stderr), places, stderr);
  }
});

test('classes that answers do not have cannot be weighted', async ({ project }) => {
  project.write('weighted.yaml', spec(BACKDOOR.replace('steps: 40', 'class_weights: balanced')));
  const { code, stderr } = await project.dosimeter('plan', 'weighted.yaml');
  assert.is(code, 2, stderr);
  assert.match(stderr, /answers have no classes that could be weighted/);
  assert.match(stderr, /Leave out train\.class_weights/);
});

test.run();
