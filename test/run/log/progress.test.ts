import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Digest } from '../../../src/api.ts';
import type { ActionKey, PlannedStage, StageId } from '../../../src/plan/types.ts';
import { type Durations, estimate, openDurations } from '../../../src/run/log/durations.ts';
import type { Finished, Outcome } from '../../../src/run/log/events.ts';
import { createProgress } from '../../../src/run/log/progress.ts';
import { standIn } from '../../rig/stand-in.ts';

const test = suite<{ dir: string }>('progress');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
});

const stage = (
  id: string,
  kind = 'train',
  cpu = 1,
  cell: PlannedStage['cell'] = {},
): PlannedStage =>
  standIn<PlannedStage>({ id, kind, cell, resources: { cpu }, descriptor: { compute: true } });
/** Returns how many stages like this one run at once on these cores. */
const cores =
  (jobs: number) =>
  ({ resources: { cpu } }: PlannedStage): number =>
    Math.max(1, Math.floor(jobs / cpu));
const ran = (seconds: number): Finished => ({
  state: 'ran',
  key: 'k' as ActionKey,
  dir: '/d',
  content: 'sha256:' as Digest,
  seconds,
  backend: null,
});

test('an estimate is the work over the cores, and never less than the longest stage', ({ dir }) => {
  const durations = openDurations(dir, 'wasm');
  const three = [stage('a'), stage('b'), stage('c')];
  assert.is(estimate(three, durations, cores(2)), null);
  assert.is(estimate(three, durations, cores(2), 4), 6);
  durations.note(stage('a'), 10);
  assert.is(estimate(three, durations, cores(2)), 15);
  assert.is(estimate(three, durations, cores(8)), 10);
  assert.is(estimate([stage('w', 'train', 2), stage('x', 'train', 2)], durations, cores(2)), 20);
  assert.is(estimate([], durations, cores(2)), 0);
});

test('durations are kept by kind and by its choices, and outlive the process', ({ dir }) => {
  const durations = openDurations(dir, 'wasm');
  durations.note(stage('a', 'train', 1, { 'adapter.type': 'full', 'adapter.rank': 4 }), 100);
  durations.note(stage('b', 'train', 1, { 'adapter.type': 'lora' }), 10, 4000);
  durations.save();
  const again: Durations = openDurations(dir, 'wasm');
  assert.is(
    again.expect(stage('c', 'train', 1, { 'adapter.type': 'full', 'adapter.rank': 8 })),
    100,
  );
  assert.is(again.expect(stage('c', 'train', 1, { 'adapter.type': 'lora' })), 10);
  assert.is(
    again.expect(stage('c', 'train', 1, { 'adapter.type': 'dora' })),
    100 + 0.3 * (10 - 100),
  );
  assert.is(again.expect(stage('c', 'ntk')), null);
  assert.is(again.expectBytes(stage('c', 'train', 1, { 'adapter.type': 'dora' })), 4000);
  assert.is(again.expectBytes(stage('c', 'ntk')), null);
});

test('seconds are in proportion to the work, of the same unit alone', ({ dir }) => {
  const durations = openDurations(dir, 'wasm');
  const working = (amount: number, of: string): PlannedStage => ({
    ...stage('a', 'train', 1, { 'adapter.type': 'full' }),
    work: { amount, of },
  });
  durations.note(working(20, 'rows'), 2, 400);
  assert.is(durations.expect(working(4000, 'rows')), 400);
  assert.is(durations.expect({ ...working(40, 'rows'), cell: { 'adapter.type': 'lora' } }), 4);
  assert.is(durations.expect(working(20, 'other rows')), null);
  assert.is(durations.expect(stage('a')), null);
  assert.is(durations.expectBytes(working(4000, 'other rows')), 400);

  // 3 s pass before the first of 10 steps, which take 0.5 s each.
  const slow = working(40, 'slow rows');
  for (const done of [1, 2, 10]) durations.progress(slow, done, 10, 100 + done / 2);
  durations.note(slow, 8);
  durations.save();
  assert.is(openDurations(dir, 'wasm').expect(working(400, 'slow rows')), 53);
});

test('seconds of one backend say nothing of another, but for stages without one', ({ dir }) => {
  const durations = openDurations(dir, 'wasm');
  const data = {
    ...stage('d', 'data'),
    descriptor: standIn<PlannedStage['descriptor']>({ compute: false }),
  };
  durations.note(stage('a'), 100, 4000);
  durations.note(data, 2);
  durations.save();
  const onTorch = openDurations(dir, 'torch');
  assert.equal([onTorch.expect(stage('b')), onTorch.expect(data)], [null, 2]);
  assert.is(onTorch.expectBytes(stage('b')), 4000);
  assert.is(openDurations(dir, 'wasm').expect(stage('b')), 100);
});

interface Rig {
  readonly stages: readonly PlannedStage[];
  readonly printed: string[];
  readonly drawn: (readonly string[])[];
  readonly durations: Durations;
  clock: number;
  start(id: string, pack?: readonly string[]): void;
  end(id: string, outcome?: Outcome): void;
  tick(): void;
  progress(id: string, done: number): void;
}

function createRig(
  dir: string,
  stages: readonly PlannedStage[],
  {
    live = false,
    room,
  }: {
    readonly live?: boolean;
    readonly room?: { readonly lines: number; readonly columns: number };
  } = {},
): Rig {
  const durations = openDurations(dir, 'wasm'),
    time = { now: 0 };
  const byId = (id: string): PlannedStage => {
    const found = stages.find((one) => one.id === id);
    if (found === undefined) throw new Error(`there is no stage ${id}`);
    return found;
  };
  const { onEvent, tick } = createProgress({
    stages,
    label: ({ id, kind, seed }) => (seed ? `${kind} of=${id.charAt(0)} seed=${seed}` : id),
    durations,
    places: cores(1),
    duration: (seconds) => `${seconds} s`,
    print: (line, tone) => rig.printed.push(`${tone}: ${line}`),
    draw: live ? (lines) => rig.drawn.push(lines) : null,
    ...(room ? { room: () => room } : {}),
    now: () => time.now,
  });
  const rig: Rig = {
    stages,
    printed: [],
    drawn: [],
    durations,
    set clock(now: number) {
      time.now = now;
    },
    tick,
    start: (id, pack) =>
      onEvent({
        type: 'stage-started',
        stage: byId(id),
        log: '',
        ...(pack ? { pack: pack as readonly StageId[] } : {}),
      }),
    end: (id, outcome = ran(20)) => onEvent({ type: 'stage-ended', stage: byId(id), outcome }),
    progress: (id, done) =>
      onEvent({ type: 'stage-progress', stage: byId(id), done, total: 20, unit: 'steps' }),
  };
  return rig;
}

const failed = (error: string): Outcome => ({ state: 'failed', error, internal: false, log: null });
const seeded = (id: string, seed: number): PlannedStage => ({ ...stage(id), seed });
const numbered = (n: number, kind = 'train'): PlannedStage[] =>
  Array.from({ length: n }, (_, i) => stage(`${kind}${i}`, kind));

test('a terminal has a live block with rate and time left; only what went wrong stays', ({
  dir,
}) => {
  const rig = createRig(dir, [stage('t1'), stage('t2'), stage('e1', 'evaluate')], { live: true });
  rig.start('t1');
  assert.equal(rig.drawn.at(-1), ['0/3 stages', 'train 0/2 · evaluate 0/1', '  t1  0 s']);
  rig.clock = 50;
  rig.tick(); // too soon: the time left is worked out from every stage
  assert.is(rig.drawn.length, 1);
  rig.clock = 20_000;
  rig.durations.note(stage('t1'), 20);
  rig.end('t1');
  assert.equal(rig.drawn.at(-1), [
    '1/3 stages · 3.0 stages/min · at least 20 s left, without evaluate', // which was never seen
    'train 1/2 · evaluate 0/1',
  ]);
  rig.start('t2');
  rig.progress('t2', 5);
  rig.clock = 25_000;
  rig.tick();
  assert.equal(rig.drawn.at(-1), [
    '1/3 stages · 2.4 stages/min · at least 15 s left, without evaluate',
    'train 1/2 · evaluate 0/1',
    '  t2  5/20 steps  5 s',
  ]);
  rig.end('t2', failed('NaN'));
  rig.end('e1', { state: 'blocked', by: 't2' as StageId });
  assert.equal(rig.printed, [
    'bad: [2/3] t2  failed: NaN',
    'bad: [3/3] e1  blocked by t2, as is whatever else waits for it',
  ]);
});

test('what is left takes as many times longer than expected as what has run', ({ dir }) => {
  const durations = openDurations(dir, 'wasm');
  durations.note(stage('t'), 10);
  durations.note(stage('e', 'evaluate'), 5);
  durations.save();
  const rig = createRig(dir, [...numbered(4), stage('e', 'evaluate')], { live: true });
  rig.tick();
  assert.match(rig.drawn.at(-1)?.[0] ?? '', 'about 45 s left');
  for (const [i, left] of [95, 65].entries()) {
    rig.start(`train${i}`);
    rig.clock = (i + 1) * 30_000;
    rig.durations.note(stage(`train${i}`), 30);
    rig.end(`train${i}`, ran(30));
    assert.match(rig.drawn.at(-1)?.[0] ?? '', `about ${left} s left`);
  }
});

test('the first stage of a kind takes as long as its progress says, not as those before it', ({
  dir,
}) => {
  const rig = createRig(dir, [stage('data', 'data'), ...numbered(2)], { live: true });
  const head = () => rig.drawn.at(-1)?.[0];
  rig.start('data');
  rig.clock = 1000;
  rig.durations.note(stage('data', 'data'), 1);
  rig.end('data', ran(1));
  rig.start('train0');
  rig.clock = 11_000;
  rig.tick();
  assert.is(head(), '1/3 stages · 5.5 stages/min'); // nothing is known of a training
  rig.progress('train0', 5);
  rig.clock = 21_000;
  rig.tick();
  assert.is(head(), '1/3 stages · 2.9 stages/min · about 140 s left'); // 20 s are a quarter of it
});

test('a pack is one line, both while it runs and when it has ended', ({ dir }) => {
  const stages = [seeded('a', 1), seeded('aa', 2), seeded('aaa', 3), seeded('b', 1)];
  const pack = ['a', 'aa', 'aaa'];
  for (const live of [true, false]) {
    const rig = createRig(dir, stages, { live });
    for (const id of pack) rig.start(id, pack);
    rig.start('b');
    rig.progress('aa', 5);
    rig.clock = 4000;
    rig.tick();
    if (live)
      assert.equal(rig.drawn.at(-1)?.slice(1), [
        '  train ×3 of=a  5/20 steps  4 s',
        '  train of=b seed=1  4 s',
      ]);
    rig.end('a');
    rig.end('aaa', failed('NaN'));
    rig.clock = 6000;
    rig.tick();
    if (live) assert.is(rig.drawn.at(-1)?.[1], '  train ×3 of=a  1 still running  5/20 steps  6 s');
    rig.end('aa');
    rig.end('b');
    assert.equal(rig.printed, [
      'bad: [2/4] train of=a seed=3  failed: NaN',
      ...(live
        ? []
        : ['good: [3/4] train ×3 of=a  2 ran  6 s', 'good: [4/4] train of=b seed=1  20 s']),
    ]);
  }
});

test('the live block is cut to the room of the terminal', ({ dir }) => {
  const rig = createRig(dir, numbered(30), { live: true, room: { lines: 5, columns: 14 } });
  for (const { id } of rig.stages) rig.start(id);
  rig.clock = 1000;
  rig.tick();
  assert.equal(rig.drawn.at(-1), [
    '0/30 stages',
    '  train0  1 s',
    '  train1  1 s',
    '  train2  1 s',
    '  … and 27 mo…',
  ]);
});

test('without a terminal, a long run has about forty lines', ({ dir }) => {
  const rig = createRig(dir, [...numbered(100, 'poison'), ...numbered(92, 'train')]);
  const cached: Outcome = { ...ran(1), state: 'cached' };
  rig.stages.forEach((one, i) => {
    const { id } = one;
    rig.start(id);
    rig.durations.note(one, 2);
    rig.end(id, i % 4 === 3 ? cached : ran(2));
  });
  assert.is(rig.printed.length, 39);
  assert.equal(
    rig.printed[0],
    'good: [5/192] 4 poison, 1 cached · at least 190 s left, without train',
  );
  assert.match(rig.printed.at(-1) ?? '', /^good: \[192\/192\] 1 train, 1 cached$/);
  const short = createRig(dir, numbered(3));
  for (const { id } of short.stages) short.end(id, cached);
  assert.equal(short.printed, []);
});

test('the same error is printed a few times, and then only counted', ({ dir }) => {
  const rig = createRig(dir, numbered(20));
  for (const { id } of rig.stages.slice(0, 10)) rig.end(id, failed('no memory'));
  for (const { id } of rig.stages.slice(10))
    rig.end(id, { state: 'blocked', by: 'train0' as StageId });
  assert.equal(rig.printed, [
    'bad: [1/20] train0  failed: no memory',
    'bad: [2/20] train1  failed: no memory',
    'bad: [3/20] train2  failed: no memory (more failures with this error are only counted)',
    'bad: [11/20] train10  blocked by train0, as is whatever else waits for it',
  ]);
});

test.run();
