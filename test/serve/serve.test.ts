/** `dosimeter serve` as a client of its server sees it. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createBacklog } from '../../src/serve/backlog.ts';
import { secondsLeft } from '../../src/serve/estimate.ts';
import { createLogBuffer } from '../../src/serve/log-text.ts';
import { createRecord } from '../../src/serve/record.ts';
import { createSeries } from '../../src/serve/series.ts';
import { openStream } from '../../src/serve/stream.ts';
import type {
  Changes,
  LogText,
  Results,
  RunList,
  Snapshot,
  StageDetail,
} from '../../src/serve/wire.ts';
import { seal } from '../../src/store/sealed.ts';
import { present } from '../rig/present.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { startHanging } from '../rig/toys.ts';
import type { Client, FakeRuns } from './runs.ts';
import { createRuns, openClient, planned, ran, started } from './runs.ts';

const test = suite<{ runs: FakeRuns; client: Client }>('serve');
test.before.each(async (context) => {
  context.runs = createRuns();
  context.client = await openClient(context.runs);
});
test.after.each(async ({ runs, client }) => {
  await client.close();
  runs.clean();
  assert.equal(client.faults, []);
});

const STAGES = [
  planned('data', 'rows'),
  planned('train', 'lora seed=1', [0], { seconds: 10 }),
  planned('train', 'lora seed=2', [0], { seconds: 10 }),
  planned('evaluate', 'lora seed=1', [1], { seconds: 4 }),
  planned('evaluate', 'lora seed=2', [2]),
];
const DATA = 'data-rows',
  TRAIN_1 = 'train-lora seed=1';

const statesOf = ({ stages }: Snapshot): string =>
  stages.map(({ state }) => state.slice(0, 4)).join(' ');

test('nothing is told without the token, to another host, to another site, or for a change', async ({
  runs,
  client,
}) => {
  runs.run('run-1', STAGES);
  const { port } = client.serving;
  const bearer = `Bearer ${client.token}`;
  const asked = async (
    headers: { readonly [name: string]: string },
    target = '/api/runs/run-1',
    method = 'GET',
  ): Promise<number> => (await client.ask(target, { method, headers })).status;
  assert.is(await asked({ authorization: bearer }), 200);
  for (const host of [`localhost:${port}`, `LOCALHOST:${port}`, `[::1]:${port}`])
    assert.is(await asked({ authorization: bearer, host }), 200, host);
  for (const authorization of ['', 'Bearer ', client.token, `${bearer}x`, bearer.slice(0, -1)])
    assert.is(await asked({ authorization }), 401, authorization);
  // A name of another site that was made to point here, or a port of another server.
  for (const host of [
    `attacker.example:${port}`,
    '127.0.0.1',
    `127.0.0.1:${port + 1}`,
    `127.0.0.1.attacker.example:${port}`,
    `127.0.0.2:${port}`,
  ])
    for (const target of ['/', '/api/runs/run-1'])
      assert.is(await asked({ authorization: bearer, host }, target), 403, host);
  for (const site of [
    { origin: 'https://attacker.example' },
    { origin: 'null' },
    { origin: `http://127.0.0.1:${port + 1}` },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ])
    for (const target of ['/', '/page.js', '/api/runs/run-1'])
      assert.is(await asked({ authorization: bearer, ...site }, target), 403, target);
  const own = { origin: `http://127.0.0.1:${port}`, 'sec-fetch-site': 'same-origin' };
  assert.is(await asked({ authorization: bearer, ...own }), 200);
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE'])
    assert.is(await asked({ authorization: bearer }, '/api/runs/run-1', method), 405, method);
  const head = await client.ask('/api/runs/run-1', {
    method: 'HEAD',
    headers: { authorization: bearer },
  });
  assert.equal([head.status, head.body], [200, '']);
});

test('every answer forbids what a page could be tricked into, and none holds the token', async ({
  runs,
  client,
}) => {
  runs.run('run-1', STAGES);
  for (const target of ['/', '/page.js', '/page.css', '/api/runs/run-1', '/nothing']) {
    const { headers, body } = await client.ask(target);
    assert.match(String(headers['content-security-policy']), /^default-src 'none'; /);
    assert.match(String(headers['content-security-policy']), "frame-ancestors 'none'");
    assert.is(headers['x-content-type-options'], 'nosniff');
    assert.is(headers['referrer-policy'], 'no-referrer');
    assert.is(headers['cache-control'], 'no-store');
    assert.is(headers['access-control-allow-origin'], undefined);
    assert.is(headers['set-cookie'], undefined);
    assert.not.ok(body.includes(client.token));
  }
});

test('paths lead to nothing but runs and their stages', async ({ runs, client }) => {
  runs.run('run-1', STAGES).log(DATA, 'a log\n');
  writeFileSync(path.join(runs.dir, 'secret.log'), 'a secret');
  symlinkSync(path.join(runs.runs, 'run-1'), path.join(runs.runs, 'run-2'));
  for (const target of [
    '/../secret.log',
    '/api/runs/..',
    '/api/runs/%2e%2e',
    '/api/runs/..%2frun-1',
    '/api/runs/run-2',
    '/api/runs/run-1%00',
    '/api/runs/%ff',
    '/api/runs/nothing/stream',
    '/api/runs/run-1/nothing',
    '/api/runs/run-1/stages/nothing',
    '/api/runs/run-1/stages/..%2f..%2f..%2fsecret',
    `/api/runs/${'x'.repeat(5000)}`,
    `http://attacker.example/api/runs/run-1`,
  ]) {
    const { status, body } = await client.ask(target);
    assert.is(status, 404, target);
    assert.is(body, 'There is no such page.');
  }
});

test('a run is followed from its files, and a listener that was cut off goes on', async ({
  runs,
  client,
}) => {
  const run = runs.run('run-1', STAGES);
  const snapshot = await client.json<Snapshot>('/api/runs/run-1');
  assert.is(statesOf(snapshot), 'read wait wait wait wait');
  assert.equal(
    snapshot.graph.groups.map(({ name, level }) => `${name} ${level}`),
    ['data 0', 'train 1', 'evaluate 2'],
  );
  assert.is(snapshot.facts.state, 'running');

  const stream = await client.listen(`/api/runs/run-1/stream?after=${snapshot.at}`);
  run.record(started(DATA), ran(DATA, runs.entry('data', {})), started(TRAIN_1));
  run.progress({ [TRAIN_1]: [3, 100, 'steps'] });
  const seen = new Map<number, string>();
  const note = ({ data }: { readonly data: string | null }): Changes => {
    const changes = JSON.parse(present(data)) as Changes;
    for (const [index, { state, progress }] of changes.stages ?? [])
      seen.set(index, [state, ...(progress ?? [])].join(' '));
    return changes;
  };
  const last = await stream.until((event) => {
    note(event);
    return seen.get(1)?.includes('steps') === true;
  });
  assert.equal([...seen].sort(), [
    [0, 'ran'],
    [1, 'running 3 100 steps'],
    [2, 'ready'],
  ]);
  stream.close();

  const fault = { error: 'the loss is NaN', hint: 'lower the rate', internal: false };
  run.record(
    { event: 'stage-ended', stage: TRAIN_1, state: 'failed', ...fault },
    { event: 'stage-ended', stage: 'evaluate-lora seed=1', state: 'blocked', by: TRAIN_1 },
    { event: 'note', message: 'the disk is nearly full' },
  );
  const again = await client.listen(`/api/runs/run-1/stream?after=${present(last.id)}`);
  const { failures, notes } = note(await again.until(({ name }) => name === 'changes'));
  assert.equal(failures, [{ ...fault, count: 1, stages: [1], blocked: 1 }]);
  assert.is(notes?.at(-1)?.text, 'the disk is nearly full');
  run.record({ event: 'ended', interrupted: true, seconds: 9 });
  await again.until((event) => note(event).facts?.state === 'interrupted');
  assert.is(seen.get(4), 'abandoned');

  for (const after of ['', '?after=other.1', '?after=nonsense']) {
    const lost = await client.listen(`/api/runs/run-1/stream${after}`);
    assert.is((await lost.until(() => true)).name, 'reset');
  }
});

test('a journal that is replaced is read anew, and a run without a plan is shown too', async ({
  runs,
  client,
}) => {
  const run = runs.run('run-1', null);
  run.record({ ...started('toy-1'), kind: 'toy', cell: { 'poisoning.attack': 'none' }, seed: 1 });
  const snapshot = await client.json<Snapshot>('/api/runs/run-1');
  assert.equal(
    snapshot.stages.map(({ label, state }) => [label, state]),
    [['toy poisoning.attack=none seed=1', 'running']],
  );
  const stream = await client.listen(`/api/runs/run-1/stream?after=${snapshot.at}`);
  run.record({ ...started('other-1'), kind: 'other', cell: {}, seed: null });
  const { data } = await stream.until(({ name }) => name === 'changes');
  const { added, graph } = JSON.parse(present(data)) as Changes;
  assert.equal([added?.[0]?.id, graph?.groups.length], ['other-1', 2]);

  const other = path.join(runs.dir, 'other');
  writeFileSync(other, `${seal({ time: '2026-01-01', event: 'created', spec: 'b.yaml' }, 8)}\n`);
  renameSync(other, path.join(run.dir, 'journal.jsonl'));
  await stream.until(({ name }) => name === 'reset');
  const after = await client.json<Snapshot>('/api/runs/run-1');
  assert.equal([after.facts.spec, after.stages.length], ['b.yaml', 0]);
});

test('a stage shows its log as it grows, its curves, metrics and neighbours', async ({
  runs,
  client,
}) => {
  const run = runs.run('run-1', STAGES);
  run.record(started(DATA), ran(DATA, runs.entry('data', {})), started(TRAIN_1));
  run.log(TRAIN_1, '2026-01-01T12:00:00Z step 1 of 9: loss 0.7, learning rate 0.001\n');
  const stage = `/api/runs/run-1/stages/${encodeURIComponent(TRAIN_1)}`;
  const stream = await client.listen(stage);
  const detailOf = async (passes: (detail: StageDetail) => boolean): Promise<StageDetail> => {
    const parsed = (data: string | null): StageDetail => JSON.parse(present(data)) as StageDetail;
    const found = await stream.until(({ name, data }) => name === 'detail' && passes(parsed(data)));
    return parsed(found.data);
  };
  const first = await detailOf(() => true);
  assert.equal(first.curves, [{ name: 'loss', points: [[1, 0.7]] }]);
  assert.equal([first.reads.stages, first.readBy], [[0], { stages: [3], count: 1 }]);
  const logged = JSON.parse(present((await stream.until(() => true)).data)) as LogText;
  assert.ok(logged.anew && logged.text.endsWith('learning rate 0.001\n'));

  run.log(TRAIN_1, 'T step 2 of 9: loss 0.5, learning rate 0.001\nT step 2, accuracy 0.75\n| hel');
  const more = await stream.until(({ name }) => name === 'log');
  assert.is((JSON.parse(present(more.data)) as LogText).anew, false);
  const { curves } = await detailOf(({ curves: { length } }) => length === 2);
  assert.equal(curves[1], { name: 'accuracy', points: [[2, 0.75]] });

  const key = runs.entry('train', {
    'metrics.json': '{"final_loss":0.1,"note":"no number"}',
    'history.jsonl': '{"step":1,"loss":0.7}\n{"step":2,"loss":0.25}\n',
  });
  run.record(ran(TRAIN_1, key));
  const done = await detailOf(({ metrics }) => metrics.length > 0);
  assert.equal(done.metrics, [['final_loss', 0.1]]);
  assert.equal(done.curves[0]?.points.at(-1), [2, 0.25]);
  const results = await client.json<Results>('/api/runs/run-1/results/train');
  assert.equal(results, { metrics: ['final_loss'], rows: [[1, [0.1]]], left: 0 });
});

test('runs are listed, newest first, and a new one appears', async ({ runs, client }) => {
  runs.run('20260101-1', STAGES).record({ event: 'ended', interrupted: false, seconds: 3 });
  mkdirSync(path.join(runs.runs, 'no-journal'));
  const stream = await client.listen('/api/runs/stream');
  const lines = (data: string | null): string[] =>
    (JSON.parse(present(data)) as RunList).runs.map(({ id, state }) => `${id} ${state}`);
  assert.equal(lines((await stream.until(() => true)).data), ['20260101-1 done']);
  const run = runs.run('20260102-1', STAGES);
  await stream.until(({ data }) => lines(data)[0] === '20260102-1 running');
  run.record({ event: 'ended', interrupted: true, seconds: 1 });
  await stream.until(({ data }) => lines(data)[0] === '20260102-1 interrupted');
});

test('what a hostile folder holds is left out, and the rest is shown', async ({ runs, client }) => {
  const outside = path.join(runs.dir, 'secret');
  writeFileSync(outside, '{"secret":1}\n');
  const run = runs.run('run-1', [planned('<img src=x onerror=alert(1)>', '</script>'), ...STAGES]);
  run.scribble(`${'x'.repeat(3 * 2 ** 20)}\n`);
  run.scribble('not sealed\n');
  run.scribble(`${seal({ time: 'never', event: 'stage-started', stage: 7 }, 8)}\n`);
  const deep = `{"event":"note","message":${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  run.scribble(`${deep},"checksum":"00000000"}\n`);
  const [linked, fifo, folder] = ['linked', 'fifo', 'folder'].map((name) =>
    runs.entry(name, {}),
  ) as [string, string, string];
  const inEntry = (key: string): string =>
    path.join(runs.store, key.slice(0, 2), key, 'metrics.json');
  symlinkSync(outside, inEntry(linked));
  execFileSync('mkfifo', [inEntry(fifo), path.join(run.dir, 'logs', '__proto__.log')]);
  mkdirSync(inEntry(folder));
  symlinkSync(outside, path.join(run.dir, 'logs', 'linked.log'));
  symlinkSync(outside, path.join(run.dir, 'run.log'));
  const names = ['__proto__', 'constructor', '../../../secret', 'linked', '', 'x'.repeat(250)];
  const keys = [linked, fifo, folder, '../../secret', 'nonsense', linked];
  for (const [i, name] of names.entries())
    run.record({ ...started(name), kind: 'evil', cell: {} }, ran(name, keys[i] ?? '', 1));
  run.record({ event: 'note', message: 'x'.repeat(100_000) });

  const { facts, stages, notes } = await client.json<Snapshot>('/api/runs/run-1');
  assert.is(facts.damaged, 3);
  assert.is(stages[0]?.label, '<img src=x onerror=alert(1)> </script>');
  assert.equal(
    stages.slice(-6).map(({ id }) => id),
    names,
  );
  assert.ok(present(notes.at(-1)).text.length < 5000);
  const results = await client.json<Results>('/api/runs/run-1/results/evil');
  assert.equal(results.rows, []);
  for (const name of names) {
    const stream = await client.listen(`/api/runs/run-1/stages/${encodeURIComponent(name)}`);
    const { data } = await stream.until(({ name: event }) => event === 'log');
    assert.is((JSON.parse(present(data)) as LogText).text, '', name);
    stream.close();
  }
  const log = await client.listen('/api/runs/run-1/log');
  assert.is((JSON.parse(present((await log.until(() => true)).data)) as LogText).text, '');

  // A plan and a journal that are not files, or not what they seem.
  for (const [id, place] of [
    ['fifo', (file: string) => execFileSync('mkfifo', [file])],
    ['link', (file: string) => symlinkSync(outside, file)],
    ['loop', (file: string) => writeFileSync(file, `${seal({ format: 1, stages: [{}] })}\n`)],
  ] as const) {
    const bad = runs.run(id, null);
    place(path.join(bad.dir, 'plan.json'));
    assert.is((await client.json<Snapshot>(`/api/runs/${id}`)).facts.name, '', id);
    const journal = path.join(runs.runs, `journal-${id}`);
    mkdirSync(journal);
    place(path.join(journal, 'journal.jsonl'));
    const { status } = await client.ask(`/api/runs/journal-${id}`);
    assert.is(status, id === 'loop' ? 200 : 404);
  }
});

test('a listener that does not read is dropped before its backlog fills the memory', () => {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const stream = openStream(response);
  let gone = false;
  stream.onEnd(() => {
    gone = true;
  });
  response.on('close', () => undefined);
  const data = 'x'.repeat(2 ** 20);
  for (let i = 0; i < 20; i++) stream.send({ name: 'changes', data });
  assert.ok(response.destroyed);
  assert.ok(response.writableLength < 12 * 2 ** 20);
  response.emit('close');
  assert.ok(gone);
});

test('the backlog, curves and logs stay small however much comes', () => {
  const backlog = createBacklog('a');
  for (let i = 0; i < 1000; i++) backlog.add('changes', i);
  assert.is(backlog.after('a.10'), null);
  assert.is(backlog.after('b.999'), null);
  assert.equal(
    backlog.after('a.998')?.map(({ id, data }) => [id, data]),
    [
      ['a.999', '998'],
      ['a.1000', '999'],
    ],
  );

  const series = createSeries(100);
  for (let step = 1; step <= 12_345; step++) series.add(step, 1 / step);
  const { points } = series.curve('loss');
  assert.ok(points.length <= 101);
  assert.equal(
    [points[0], points.at(-1)],
    [
      [1, 1],
      [12_345, 1 / 12_345],
    ],
  );
  series.add(100, 7); // it went on from a state that was saved
  assert.equal(series.curve('loss').points.at(-1), [100, 7]);

  const log = createLogBuffer();
  for (let i = 0; i < 10_000; i++) log.add(`\u001b[31mline ${i}\u001b[0m \u202e\u0007`);
  const taken = present(log.take());
  assert.ok(taken.anew && log.isCut && taken.text.length <= 64 * 1024);
  assert.ok(taken.text.endsWith('line 9999 ··\n'));
  assert.ok(taken.text.startsWith('line '));
});

test('the time left follows what stages of a kind have taken', () => {
  const stages = Array.from({ length: 5 }, (_, i) =>
    planned('train', String(i), [], { places: 2 }),
  );
  const record = createRecord({ name: '', store: '', backend: '', executor: '', stages });
  const at = Date.UTC(2026, 0, 1);
  assert.is(secondsLeft(record.stages, at), null);
  record.apply(ran('train-0', 'k', 8));
  record.apply({ ...started('train-1'), time: new Date(at).toISOString() });
  // One has run 2 of 8 seconds, three have not begun; two run at once.
  assert.is(secondsLeft(record.stages, at + 2000), (6 + 3 * 8) / 2);
  record.progress({ 'train-1': [1, 10, 'steps'] }); // 2 of 20 seconds
  assert.is(secondsLeft(record.stages, at + 2000), (18 + 3 * 8) / 2);
  const expected = createRecord({
    ...present(record.plan),
    stages: stages.map((stage) => ({ ...stage, seconds: 4 })),
  });
  expected.apply(ran('train-0', 'k', 8));
  assert.is(secondsLeft(expected.stages, at), (4 * 8) / 2); // twice as long as expected
});

test('the command follows a real run, and keeps its token out of every file and log', async () => {
  const project = createProject();
  try {
    writeToys(project);
    const run = await startHanging(project);
    const command = project.start('serve', '--store', '.dosimeter/store');
    let stdout = '';
    command.process.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    await command.saw('changes nothing');
    while (!stdout.includes('\n')) await once(present(command.process.stdout), 'data');
    const [base = '', token = ''] = stdout.trim().split('/#token=');
    const headers = { authorization: `Bearer ${token}` };
    const id = present(readdirSync(path.join(project.dir, '.dosimeter/runs'))[0]);
    const snapshotOf = async (): Promise<Snapshot> =>
      (await (await fetch(`${base}/api/runs/${id}`, { headers })).json()) as Snapshot;
    const { facts, stages, graph } = await snapshotOf();
    assert.equal([facts.name, facts.state, stages.length], ['toys', 'running', 13]);
    assert.equal(
      graph.groups.map(({ name }) => name),
      ['toy-train', 'toy-evaluate', 'toy-report'],
    );
    const running = stages.filter(({ state }) => state === 'running');
    assert.equal(
      running.map(({ label }) => label),
      ['toy-train attack=label-flip rate=0.3 seed=2'],
    );
    const results = (await (
      await fetch(`${base}/api/runs/${id}/results/toy-train`, { headers })
    ).json()) as Results;
    assert.equal(results.metrics, ['steps']);
    run.process.kill('SIGKILL');
    await run.ended;
    const killed = await snapshotOf();
    assert.is(killed.facts.state, 'killed');
    assert.equal(
      killed.stages.filter(({ state }) => state === 'stopped').map(({ label }) => label),
      running.map(({ label }) => label),
    );
    command.process.kill('SIGINT');
    const said = await command.ended;
    assert.is(said.code, 0);
    assert.not.ok(said.stderr.includes(token));
    const holding = readdirSync(project.dir, { recursive: true, encoding: 'utf8' })
      .map((name) => path.join(project.dir, name))
      .filter((file) => statSync(file).isFile() && readFileSync(file).includes(token));
    assert.equal(holding, []);
    const taken = await project.dosimeter('serve', '--port', '70000');
    assert.equal([taken.code, taken.stdout], [2, '']);
    assert.match(taken.stderr, '--port takes a number from 1 to 65535, got "70000"');
  } finally {
    project.clean();
  }
});

test.run();
