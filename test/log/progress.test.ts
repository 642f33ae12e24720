import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { estimate, openDurations } from '../../src/log/durations.ts';
import type { Durations } from '../../src/log/durations.ts';
import type { Finished } from '../../src/log/events.ts';
import { createProgress } from '../../src/log/progress.ts';
import type { PlannedStage } from '../../src/plan/types.ts';

const test = suite<{ dir: string }>('progress');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true, force: true }));

const stage = (
  id: string,
  kind = 'train',
  cpu = 1,
  cell: PlannedStage['cell'] = {},
): PlannedStage => ({ id, kind, cell, resources: { cpu } }) as unknown as PlannedStage;
/** As many as the cores hold. */
const cores =
  (jobs: number) =>
  ({ resources: { cpu } }: PlannedStage): number =>
    Math.max(1, Math.floor(jobs / cpu));
const ran = (seconds: number): Finished =>
  ({
    state: 'ran',
    key: 'k',
    dir: '/d',
    content: 'sha256:',
    seconds,
    backend: null,
  }) as unknown as Finished;

test('an estimate is work over cores, and never less than the longest stage', ({ dir }) => {
  const durations = openDurations(dir);
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
  const durations = openDurations(dir);
  durations.note(stage('a', 'train', 1, { 'adapter.type': 'full', 'adapter.rank': 4 }), 100);
  durations.note(stage('b', 'train', 1, { 'adapter.type': 'lora' }), 10);
  durations.save();
  const again: Durations = openDurations(dir);
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
});

test('lines off a terminal, a redrawn block with rate and time left on one', ({ dir }) => {
  const stages = [stage('t1'), stage('t2'), stage('e1', 'evaluate')];
  const printed: string[] = [],
    drawn: (readonly string[])[] = [];
  let clock = 0;
  const durations = openDurations(dir);
  const progress = createProgress({
    stages,
    label: ({ id }) => id,
    durations,
    places: cores(1),
    duration: (seconds) => `${seconds} s`,
    print: (line, tone) => printed.push(`${tone}: ${line}`),
    draw: (lines) => drawn.push(lines),
    now: () => clock,
  });
  progress.onEvent({ type: 'stage-started', stage: stages[0]!, log: '' });
  assert.equal(drawn.at(-1), ['0/3 stages', '  t1  0 s']);
  clock = 50;
  progress.tick(); // too soon: the time left is worked out from every stage
  assert.is(drawn.length, 1);
  clock = 20_000;
  durations.note(stages[0]!, 20);
  progress.onEvent({ type: 'stage-ended', stage: stages[0]!, outcome: ran(20) });
  assert.equal(drawn.at(-1), ['1/3 stages · 3.0 stages/min · about 40 s left']); // evaluate was never seen: as long as the rest
  progress.onEvent({ type: 'stage-started', stage: stages[1]!, log: '' });
  progress.onEvent({
    type: 'stage-progress',
    stage: stages[1]!,
    done: 5,
    total: 20,
    unit: 'steps',
  });
  clock = 25_000;
  progress.tick();
  assert.equal(drawn.at(-1), [
    '1/3 stages · 2.4 stages/min · about 35 s left',
    '  t2  5/20 steps  5 s',
  ]);
  progress.onEvent({
    type: 'stage-ended',
    stage: stages[1]!,
    outcome: { state: 'failed', error: 'NaN', internal: false, log: null },
  });
  progress.onEvent({
    type: 'stage-ended',
    stage: stages[2]!,
    outcome: { state: 'blocked', by: stages[1]!.id },
  });
  assert.equal(printed, [
    'good: [1/3] t1  20 s',
    'bad: [2/3] t2  failed: NaN',
    'bad: [3/3] e1  blocked by t2',
  ]);
});

test.run();
