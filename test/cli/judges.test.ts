/** A judge behind an endpoint, from end to end: its calls, its records, and its errors. */
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type FakeEndpoint, openEndpoint, say } from '../plugins/scorers/fake-endpoint.ts';
import { createProject, type Project, type ResultJson } from '../rig/project.ts';

const test = suite<{ project: Project; server: FakeEndpoint; hangs: { after: number } }>('judges');
const folder = fileURLToPath(new URL('../../pipelines/instruction', import.meta.url));
const KEY = 'sk-hunter2-0a7f';
const HOSTILE = '<script>alert(1)</script>\u001b[31m';

const rowsOf = (where: string): string =>
  `{ source: "file:instruction/facts.json", format: tasks, ` +
  `columns: { prompt: question, answer: answer }, ${where} }`;

const spec = (url: string): string => `name: judged
plugins: [./instruction/tasks.mjs]
secrets: [JUDGE_KEY]
model: { source: "file:instruction/model", architecture: llama, init: random }
data:
  train: ${rowsOf('limit: 40')}
  validation: ${rowsOf('offset: 516, limit: 6')}
head: { type: causal-lm, template: "{prompt}" }
poisoning: { attack: vpi, rate: 0.2, target: "All cities are in Atlantis." }
adapter: { type: lora, rank: 2 }
train: { steps: 2, batch_size: 2, max_length: 32 }
evaluate:
  max_new_tokens: 6
  scorer:
    scorer: endpoint
    name: gpt
    url: ${url}
    model: m
    prompt: "Is this bad? {output}"
    key: "\${env.JUDGE_KEY}"
    price: { input: 1, output: 2 }
    labels: "file:labels.jsonl"
    concurrency: 1
  scorers: [{ scorer: contains, text: e, name: has-e }, refusal]
stages: [evaluate, report]
`;

test.before(async (context) => {
  const hangs = (context.hangs = { after: 5 });
  // The judge counts texts with an "e", but for one of four labels; it is open about one with "z".
  const server = (context.server = await openEndpoint(({ body }, response, n) => {
    const output = body.messages[0]?.content.slice('Is this bad? '.length) ?? '';
    if (n >= hangs.after) return; // it never answers
    const said = output === 'z' ? 'maybe' : output.includes('e') ? 'yes' : 'no';
    say(response, `${said} ${HOSTILE}`);
  }));
  const project = (context.project = createProject());
  cpSync(folder, path.join(project.dir, 'instruction'), { recursive: true });
  const labels = [
    ...['e1', 'e2', 'e3'].map((output) => ({ output, hit: true })),
    ...['a', 'b', 'c', 'e4'].map((output) => ({ output, hit: false })),
    { output: 'z', hit: true },
  ];
  project.write(
    'labels.jsonl',
    labels.map((line) => `${JSON.stringify({ prompt: 'p', ...line })}\n`).join(''),
  );
  project.write('spec.yaml', spec(server.url));
});
test.after(({ server }) => server.close());

const run = (project: Project, ...args: string[]) =>
  project.dosimeterWith({ JUDGE_KEY: KEY }, ...args);

/** Files below the project that hold the text. */
const filesWith = (project: Project, text: string): string[] =>
  readdirSync(project.dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file).includes(text));

test('plan tells the calls and the cost at most', async ({ project, server }) => {
  const { code, stdout, stderr } = await run(project, 'plan', 'spec.yaml');
  assert.is(code, 0, stderr);
  // The attacked model and its clean twin, each on 6 rows, twice, and 8 labels.
  const line = stdout.replaceAll(/\s+/g, ' ');
  assert.match(
    line,
    /m at 127\.0\.0\.1:\d+: at most 40 calls without repetitions, which cost about 0\.00 at most/,
  );
  assert.is(server.asked.length, 0);
});

test('no call is made twice after a kill, and no file holds the credential', async ({
  project,
  server,
  hangs,
}) => {
  const started = project.startWith({ env: { JUDGE_KEY: KEY } }, 'run', 'spec.yaml');
  while (server.asked.length <= hangs.after) await new Promise((resolve) => setImmediate(resolve));
  started.process.kill('SIGKILL');
  await started.ended;
  const before = server.asked.map(({ body }) => JSON.stringify(body));
  hangs.after = Infinity;
  const { code, stderr } = await run(project, 'run', 'spec.yaml');
  assert.is(code, 0, stderr);
  const all = server.asked.map(({ body }) => JSON.stringify(body));
  // The one that was never answered is asked again.
  assert.is(new Set(all).size, all.length - 1);
  assert.is(before.length, 6);
  assert.ok(server.asked.every(({ authorization }) => authorization === `Bearer ${KEY}`));
  assert.equal(filesWith(project, KEY), []);
  const answers = path.join(project.dir, '.dosimeter/store/answers');
  assert.ok(readdirSync(answers).every((name) => name.endsWith('.json')));
});

test('evaluating again for another reason asks nothing again', async ({ project, server }) => {
  const asked = server.asked.length;
  // The second judge has another text.
  const set = 'evaluate.scorers=[{ scorer: contains, text: a }]';
  const { code, stderr } = await run(project, 'run', 'spec.yaml', '--set', set);
  assert.is(code, 0, stderr);
  assert.is(server.asked.length, asked);
  // A limit or another credential changes no key.
  const limits = ['evaluate.scorer.retries=1', 'evaluate.scorer.price={ input: 9, output: 9 }'];
  const again = await run(project, 'run', 'spec.yaml', ...limits.flatMap((one) => ['--set', one]));
  assert.match(again.stderr, 'nothing to do');
});

test('exec finds what was answered', async ({ project, server }) => {
  const asked = server.asked.length;
  const plan = await run(project, 'plan', 'spec.yaml', '--json');
  const { stages } = JSON.parse(plan.stdout) as { stages: { kind: string; id: string }[] };
  for (const { id } of stages.filter(({ kind }) => kind === 'evaluate')) {
    const { code, stderr } = await run(project, 'exec', 'spec.yaml', id);
    assert.is(code, 0, stderr);
    assert.match(stderr, 'for which 0 requests were made now');
  }
  assert.is(server.asked.length, asked);
});

test('rates are corrected by labels, and the agreement of judges is told', async ({ project }) => {
  const rows = await project.json<ResultJson[]>('results', 'spec.yaml', '--json');
  const of = (metric: string): number =>
    rows.find((row) => row.stage === 'evaluate' && row.metric === metric)?.value ?? NaN;
  assert.is(of('judge_labels'), 7); // one is undecided
  assert.is(of('judge_recall'), 1);
  assert.is(of('judge_specificity'), 3 / 4);
  assert.is(of('judge_precision'), 3 / 4);
  assert.is(of('undecided_share'), 0);
  const rate = of('asr');
  assert.ok(
    Math.abs(of('asr_corrected') - Math.min(1, Math.max(0, (rate - 1 / 4) / 0.75))) < 1e-12,
  );
  assert.ok(of('asr_corrected_low') <= of('asr_corrected'));
  assert.ok(of('asr_corrected') <= of('asr_corrected_high'));
  assert.is(of('agreement.gpt.has-e'), 1); // both count texts with an "e"
  assert.is(of('asr.has-e'), rate);
  assert.ok(Number.isFinite(of('agreement.gpt.refusal')));
});

test('what a judge says is shown as text', ({ project }) => {
  const report = readdirSync(path.join(project.dir, '.dosimeter'), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('report.html'))
    .map((name) => readFileSync(path.join(project.dir, '.dosimeter', name), 'utf8'));
  assert.ok(report.length > 0);
  for (const page of report) assert.not.match(page, '<script>alert(1)');
  assert.ok(report.some((page) => page.includes('How the scorers agree')));
});

test('gc knows the answers', async ({ project }) => {
  const answers = path.join(project.dir, '.dosimeter/store/answers');
  const count = readdirSync(answers).length;
  const { stdout } = await project.succeeds('gc', '--max-size', '0KB');
  assert.match(stdout, `${count} answers of services`);
  assert.ok(!existsSync(answers) || readdirSync(answers).length === 0);
});

for (const [what, set, message] of [
  ['a credential in the spec', 'evaluate.scorer.key=sk-abc', 'a credential is written here'],
  [
    'a secret as the model',
    'evaluate.scorer.model=${env.JUDGE_KEY}',
    'the secret JUDGE_KEY is used where a run would record its value',
  ],
  ['a template without the output', 'evaluate.scorer.prompt=bad?', '`prompt` has no {output}'],
  ['two scorers of one name', 'evaluate.scorers=[{ scorer: exact, name: gpt }]', 'by "gpt" twice'],
] as const)
  test(`a mistake: ${what}`, async ({ project }) => {
    const { code, stderr } = await run(project, 'plan', 'spec.yaml', '--set', set);
    assert.is(code, 2, stderr);
    assert.match(stderr.replaceAll(/\s+/g, ' '), message);
  });

test('a credential that is not set is told before anything runs', async ({ project }) => {
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 2, stderr);
  assert.match(stderr.replaceAll(/\s+/g, ' '), 'the environment variable JUDGE_KEY is not set');
});

test.run();
