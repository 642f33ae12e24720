/** How `dosimeter serve` follows runs and their stages, as a client of its server sees it. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import path from 'node:path';
import * as assert from 'uvu/assert';
import { Pulse } from '../../src/serve/follower.ts';
import { secondsLeft } from '../../src/serve/projection.ts';
import { RunRecord } from '../../src/serve/record.ts';
import { LogBuffer } from '../../src/serve/stage-follower.ts';
import { Series } from '../../src/serve/stored.ts';
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
import { planned, ran, serveSuite, started, TOY_STAGES } from './runs.ts';

const test = serveSuite('serve');

const DATA = 'data-rows',
  TRAIN_1 = 'train-lora seed=1';

const statesOf = ({ stages }: Snapshot): string =>
  stages.map(({ state }) => state.slice(0, 4)).join(' ');

test('a run is followed from its files, and a listener that was cut off begins anew', async ({
  runs,
  client,
}) => {
  const run = runs.run('run-1', TOY_STAGES);
  const snapshot = await client.json<Snapshot>('/api/runs/run-1');
  assert.is(statesOf(snapshot), 'read wait wait wait wait');
  assert.equal(
    snapshot.graph.groups.map(({ name, level }) => `${name} ${level}`),
    ['data 0', 'train 1', 'evaluate 2'],
  );
  assert.is(snapshot.facts.state, 'running');

  const stream = await client.listen('/api/runs/run-1/stream');
  assert.is((await stream.until(() => true)).name, 'reset');
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
  const again = await client.listen('/api/runs/run-1/stream');
  assert.is((await again.until(() => true)).name, 'reset');
  const { at, failures, notes } = await client.json<Snapshot>('/api/runs/run-1');
  assert.ok(at > Number(last.id), 'the snapshot has what was missed');
  assert.equal(failures, [{ ...fault, count: 1, stages: [1], blocked: 1 }]);
  assert.is(notes.at(-1)?.text, 'the disk is nearly full');
  run.record({ event: 'ended', interrupted: true, seconds: 9 });
  await again.until((event) => note(event).facts?.state === 'interrupted');
  assert.is(seen.get(4), 'abandoned');
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
  const stream = await client.listen('/api/runs/run-1/stream');
  await stream.until(({ name }) => name === 'reset');
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
  const run = runs.run('run-1', TOY_STAGES);
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
  assert.equal(results, { metrics: ['final_loss'], rows: [[1, [0.1]]], reasons: [{}], left: 0 });
});

test('runs are listed, newest first, and a new one appears', async ({ runs, client }) => {
  runs.run('20260101-1', TOY_STAGES).record({ event: 'ended', interrupted: false, seconds: 3 });
  mkdirSync(path.join(runs.runs, 'no-journal'));
  const stream = await client.listen('/api/runs/stream');
  const lines = (data: string | null): string[] =>
    (JSON.parse(present(data)) as RunList).runs.map(({ id, state }) => `${id} ${state}`);
  assert.equal(lines((await stream.until(() => true)).data), ['20260101-1 done']);
  const run = runs.run('20260102-1', TOY_STAGES);
  await stream.until(({ data }) => lines(data)[0] === '20260102-1 running');
  run.record({ event: 'ended', interrupted: true, seconds: 1 });
  await stream.until(({ data }) => lines(data)[0] === '20260102-1 interrupted');
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

test('curves and logs stay small however much comes', () => {
  const series = new Series(100);
  for (let step = 1; step <= 12_345; step++) series.add(step, 1 / step);
  const points = series.points();
  assert.ok(points.length <= 101);
  assert.equal(
    [points[0], points.at(-1)],
    [
      [1, 1],
      [12_345, 1 / 12_345],
    ],
  );
  series.add(100, 7); // it went on from a state that was saved
  assert.equal(series.points().at(-1), [100, 7]);

  const log = new LogBuffer();
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
  const record = new RunRecord({ name: '', store: '', backend: '', executor: '', stages });
  const at = Date.UTC(2026, 0, 1);
  assert.is(secondsLeft(record.stages, at), null);
  record.apply(ran('train-0', 'k', 8));
  record.apply({ ...started('train-1'), time: new Date(at).toISOString() });
  // One has run 2 of 8 seconds, three have not begun; two run at once.
  assert.is(secondsLeft(record.stages, at + 2000), (6 + 3 * 8) / 2);
  record.progress({ 'train-1': [1, 10, 'steps'] }); // 2 of 20 seconds
  assert.is(secondsLeft(record.stages, at + 2000), (18 + 3 * 8) / 2);
  const expected = new RunRecord({
    ...present(record.plan),
    stages: stages.map((stage) => ({ ...stage, seconds: 4 })),
  });
  expected.apply(ran('train-0', 'k', 8));
  assert.is(secondsLeft(expected.stages, at), (4 * 8) / 2); // twice as long as expected
});

test('where a scheduler has a job is shown while its stage is running', async ({
  runs,
  client,
}) => {
  const run = runs.run('run-1', TOY_STAGES);
  run.record(started(DATA), ran(DATA, runs.entry('data', {})), started(TRAIN_1));
  run.progress({}, { [TRAIN_1]: ['Slurm job 7_1', null, 'Resources'], [DATA]: ['x', 'n1', null] });
  const placesOf = async () =>
    (await client.json<Snapshot>('/api/runs/run-1')).stages.map(({ place }) => place ?? null);
  const waiting = { job: 'Slurm job 7_1', node: null, waits: 'Resources' };
  assert.equal(await placesOf(), [null, waiting, null, null, null]);
  run.progress({}, { [TRAIN_1]: ['Slurm job 7_1', 'n2', null] });
  assert.equal((await placesOf())[1], { job: 'Slurm job 7_1', node: 'n2', waits: null });
  for (const nonsense of [7, 'n1', [], [7], [null, 'n1']]) {
    run.progress({}, { [TRAIN_1]: nonsense });
    assert.is((await placesOf())[1]?.node, 'n2', 'what is not a place is left out');
  }
  run.record({ event: 'stage-ended', stage: TRAIN_1, state: 'failed', error: 'no' });
  assert.equal(await placesOf(), [null, null, null, null, null]);
});

test('a run of another machine counts as alive while its heartbeat changes', async ({
  runs,
  client,
}) => {
  let now = 0;
  const pulse = new Pulse(() => now);
  const look = (beat: string | null) => pulse.look(beat);
  assert.equal([look('1'), look('1'), look('2')], [null, null, 'beating']);
  now = 19_000;
  assert.is(look('2'), 'beating');
  now = 20_000;
  assert.equal([look('2'), look('3')], ['silent', 'beating']);
  now = 60_000;
  assert.equal([look(null), new Pulse(() => now).look(null)], [null, null]);
  now = 80_000;
  assert.is(look(null), 'silent');

  const run = runs.run('run-1', TOY_STAGES, 'node17');
  const factsOf = async () => (await client.json<Snapshot>('/api/runs/run-1')).facts;
  writeFileSync(path.join(run.dir, 'beat.json'), '{"count":1}');
  const { state, host } = await factsOf();
  assert.equal([state, host], ['unknown', 'node17']);
  writeFileSync(path.join(run.dir, 'beat.json'), '{"count":2}');
  assert.is((await factsOf()).state, 'running');
});

test.run();
