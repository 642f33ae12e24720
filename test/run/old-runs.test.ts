import { existsSync, mkdirSync, mkdtempSync, readdirSync, utimesSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ActionKey } from '../../src/plan/types.ts';
import { createRunFolder } from '../../src/run/log/run-folder.ts';
import { sweepRuns } from '../../src/run/run-status.ts';
import { pin } from '../../src/store/roots.ts';

const test = suite<{ root: string; runs: string }>('old runs');
test.before.each((context) => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  context.root = path.join(dir, 'store');
  context.runs = path.join(dir, 'runs');
});

/** Makes a run's folder that was last written to some days ago. Returns the run's id. */
function run(runs: string, daysAgo: number, ended: boolean): string {
  const folder = createRunFolder(runs, () => undefined, {
    specFile: 'spec.yaml',
    specText: '',
    resolved: {},
    environment: {},
    argv: [],
    notes: '',
  });
  if (ended) folder.record({ event: 'ended', interrupted: false, seconds: 1 });
  folder.close();
  mkdirSync(path.join(folder.dir, 'logs'));
  const then = Date.now() / 1000 - daysAgo * 24 * 3600;
  for (const name of readdirSync(folder.dir)) utimesSync(path.join(folder.dir, name), then, then);
  utimesSync(folder.dir, then, then);
  return folder.id;
}

test('the latest runs stay, and so do young, pinned and live ones', ({ root, runs }) => {
  // The runs are made in this order, so that each is later than the one before.
  const old = run(runs, 40, true);
  const pinned = run(runs, 40, true);
  const live = run(runs, 40, false);
  const young = run(runs, 2, true);
  const latest = run(runs, 40, true);
  pin(root, { name: 'kept', of: pinned, keys: ['a'.repeat(64) as ActionKey] });
  const wanted = { swept: [old], kept: 4, live: 1, pinned: 1, young: 1 };
  assert.equal(sweepRuns(root, runs, { latest: 1, days: 30 }, true), wanted);
  assert.is(readdirSync(runs).length, 5);
  assert.equal(sweepRuns(root, runs, { latest: 1, days: 30 }, false), wanted);
  assert.equal(readdirSync(runs).sort(), [pinned, live, young, latest].sort());
  assert.equal([...sweepRuns(root, runs, { latest: 0, days: 0 }, false).swept].sort(), [
    ...[young, latest].sort(),
  ]);
  assert.equal(readdirSync(runs).sort(), [pinned, live].sort());
});

test('a sweep removes what a killed one left, and makes no folder itself', ({ root, runs }) => {
  assert.equal(sweepRuns(root, runs, { latest: 0, days: 0 }, false).swept, []);
  assert.not.ok(existsSync(runs));
  mkdirSync(path.join(runs, '.swept-20250101-000000-1', 'logs'), { recursive: true });
  assert.equal(sweepRuns(root, runs, { latest: 20, days: 30 }, false).swept, []);
  assert.equal(readdirSync(runs), []);
});

test.run();
