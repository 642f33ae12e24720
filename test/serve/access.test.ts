/** Who may read what `dosimeter serve` shows, and what it does not open. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import type { Json } from '../../src/api.ts';
import { lineReader } from '../../src/serve/files.ts';
import { pageScript } from '../../src/serve/server.ts';
import type { LogText, Results, Snapshot } from '../../src/serve/wire.ts';
import { seal, writeSealed } from '../../src/store/sealed.ts';
import { present } from '../rig/present.ts';
import { createProject, writeToys } from '../rig/project.ts';
import { startHanging } from '../rig/toys.ts';
import { planned, ran, serveSuite, started, TOY_STAGES } from './runs.ts';

const test = serveSuite('access to serve');

const DATA = 'data-rows';

test('nothing is told without the token, to another host, to another site, or for a change', async ({
  runs,
  client,
}) => {
  runs.run('run-1', TOY_STAGES);
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
  runs.run('run-1', TOY_STAGES);
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

test("the page's script is small, so no library of statistics is in it", async () => {
  const { length } = await pageScript();
  assert.ok(length > 30_000 && length < 80_000, `${length} characters`);
});

test('paths lead to nothing but runs and their stages', async ({ runs, client }) => {
  runs.run('run-1', TOY_STAGES).log(DATA, 'a log\n');
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

test("a report's rows are sent as they are stored, where they are what they seem", async ({
  runs,
  client,
}) => {
  const data = gzipSync('{"format":1}');
  for (const [id, file, status] of [
    ['run-1', data, 200],
    ['run-2', 'no gzip', 404],
    ['run-3', Buffer.concat(Array<Buffer>(33).fill(gzipSync(Buffer.alloc(2 ** 24)))), 404],
  ] as const) {
    const run = runs.run(id, [...TOY_STAGES, planned('report', 'all')]);
    const target = `/api/runs/${id}/outputs`;
    assert.is((await client.ask(target)).status, 404, 'the report has not been made');
    run.record(ran('report-all', runs.entry(id, { 'outputs.json.gz': file })));
    assert.is((await client.ask(target)).status, status, id);
    assert.is((await client.ask(target, { headers: {} })).status, 401);
  }
  const { headers } = await client.ask('/api/runs/run-1/outputs');
  assert.equal(
    [headers['content-encoding'], headers['content-length']],
    ['gzip', String(data.length)],
  );
});

test('what a hostile folder holds is left out, and the rest is shown', async ({ runs, client }) => {
  const outside = path.join(runs.dir, 'secret');
  writeFileSync(outside, '{"secret":1}\n');
  const run = runs.run('run-1', [
    planned('<img src=x onerror=alert(1)>', '</script>'),
    ...TOY_STAGES,
  ]);
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

test('a plan beyond the limits is left out with a note, before it is parsed', async ({
  runs,
  client,
}) => {
  const facts = { format: 2, name: 'evil', store: '', backend: 'cpu', executor: 'local' };
  const deep = (levels: number): Json => (levels === 0 ? [] : [deep(levels - 1)]);
  for (const [id, extra, why] of [
    ['deep', deep(100), 'is nested more than 100 deep'],
    ['lists', Array.from({ length: 400_000 }, () => []), 'holds more than 400000 lists'],
    ['wide', Array.from({ length: 4_000_001 }, () => 1), 'holds more than 4000000 values'],
    [
      'names',
      Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`_${i}`, 1])),
      'holds more than 100000 names',
    ],
  ] as const) {
    const run = runs.run(id, null);
    writeSealed(path.join(run.dir, 'plan.json'), { ...facts, groups: [], stages: [], extra });
    const snapshot = await client.json<Snapshot>(`/api/runs/${id}`);
    assert.is(snapshot.facts.name, '');
    assert.equal(
      snapshot.notes.map(({ text }) => text),
      [`the run's plan is left out: it ${why}`],
    );
  }
});

test('a journal of line breaks is read in short turns, and not to its end', async ({
  runs,
  client,
}) => {
  const run = runs.run('run-1', TOY_STAGES);
  run.scribble('\n'.repeat(1_000_000));
  run.record({ event: 'ended', interrupted: false, seconds: 1 });
  const { facts, notes } = await client.json<Snapshot>('/api/runs/run-1');
  assert.equal([facts.state, facts.damaged], ['running', 1_000_000 - 2]);
  assert.equal(
    notes.map(({ text }) => text),
    ['the journal is followed for 1000000 lines, and has more'],
  );

  let inTurn = 0,
    most = 0,
    total = 0;
  const read = lineReader({
    file: { root: runs.runs, names: ['run-1', 'journal.jsonl'] },
    longest: 1000,
    onRestart: () => undefined,
    onLine() {
      total++;
      most = Math.max(most, ++inTurn);
    },
  });
  const count = (): NodeJS.Immediate =>
    setImmediate(() => {
      inTurn = 0;
      next = count();
    });
  let next = count();
  await read();
  clearImmediate(next);
  assert.is(total, 1_000_003);
  assert.ok(most <= 4000, `${most} lines in one turn`);
});

test('connections that show no token keep no user out', async ({ runs, client }) => {
  const run = runs.run('run-1', TOY_STAGES);
  const stream = await client.listen('/api/runs/run-1/stream');
  const sockets = await Promise.all(
    Array.from({ length: 300 }, async () => {
      const socket = connect(client.serving.port, '127.0.0.1').on('error', () => undefined);
      await once(socket, 'connect');
      socket.write('GET / HTTP/1.1\r\nhost:');
      return socket;
    }),
  );
  assert.is((await client.ask('/api/runs/run-1')).status, 200);
  run.record(started(DATA));
  await stream.until(({ name }) => name === 'changes');
  for (const socket of sockets) socket.destroy();
  stream.close();
});

test('the command follows a real run, and keeps its token out of every file and log', async () => {
  const project = createProject();
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
});

test.run();
test.run();
