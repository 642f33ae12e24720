/** Leases between processes of one host and of several, with clocks that a test moves. */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ActionKey } from '../../src/plan/types.ts';
import { type Lease, type LeaseOptions, Leases } from '../../src/store/lease.ts';
import {
  createHeart,
  createWatch,
  leaseTimeout,
  newOwner,
  type Owner,
  ownerName,
} from '../../src/store/owner.ts';
import { present } from '../rig/present.ts';

const SILENT = 30_000;
const key = (digit: string): ActionKey => digit.repeat(64) as ActionKey;
const a = key('a'),
  b = key('b');

interface Context {
  dir: string;
  /** Moves every clock of the test, in milliseconds. */
  pass: (ms: number) => void;
  /** Opens leases of this process, or of one on another host. Their timers do not fire. */
  open: (host?: string, options?: LeaseOptions) => Leases;
  opened: Leases[];
}

const test = suite<Context>('leases of a store');
test.before.each((context) => {
  let now = 0;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  Object.assign(context, {
    dir,
    opened: [],
    pass: (ms: number) => (now += ms),
    open: (host?: string, options: LeaseOptions = {}) => {
      const leases = new Leases(
        dir,
        { ...newOwner(), ...(host === undefined ? {} : { host }) },
        {
          timeoutMs: SILENT,
          watch: createWatch(dir, SILENT, () => now),
          ...options,
        },
      );
      context.opened.push(leases);
      return leases;
    },
  });
});
test.after.each(({ opened }) => {
  for (const leases of opened) leases.close();
});

const held = (leases: Leases, of: ActionKey): Lease => {
  const attempt = leases.take(of);
  if ('by' in attempt) throw new Error(`the lease is held by ${ownerName(attempt.by)}`);
  return attempt.held;
};
const isBusy = (leases: Leases, of: ActionKey): boolean => 'by' in leases.take(of);
const claims = (dir: string): string[] => readdirSync(dir).filter((name) => name.includes('.'));

/** The name of a host that is not this one. */
const FAR = '0123456789ab';

test('a lease is held by one at a time, and can be released', ({ dir, open }) => {
  const mine = open(),
    theirs = open(FAR);
  const lease = held(mine, a);
  assert.ok(isBusy(mine, a));
  const attempt = theirs.take(a);
  assert.ok('by' in attempt && attempt.by.pid === process.pid);
  held(theirs, b);
  lease.release();
  held(theirs, a);
  theirs.close();
  mine.close();
  assert.equal(readdirSync(dir), []);
});

test('claims are links to one file: taking and releasing leases frees no inode', ({
  dir,
  open,
}) => {
  const leases = open();
  const inodes = ['a', 'b', 'c'].map((letter) => {
    const lease = held(leases, key(letter));
    assert.is(readdirSync(dir).length, 2); // the claim, and the owner's own file
    lease.release();
    return statSync(path.join(dir, present(readdirSync(dir)[0]))).ino;
  });
  assert.is(new Set(inodes).size, 1);
});

test('a folder of leases that was cleared by hand does no harm', ({ dir, open }) => {
  const leases = open(),
    lease = held(leases, a);
  for (const name of readdirSync(dir)) rmSync(path.join(dir, name));
  held(leases, b);
  assert.ok(isBusy(open(), b));
  assert.not.ok(lease.stands());
  assert.ok(lease.lost.aborted);
});

test('the lease of a dead process is taken over, and this is reported', ({ dir, open }) => {
  const told: number[] = [];
  const claim = (owner: Owner): void =>
    writeFileSync(path.join(dir, `${a}.${ownerName(owner)}`), '');
  claim({ ...newOwner(), pid: 4_190_000 });
  // The process id was reused: the number is the same, the start time another.
  claim({ ...newOwner(), pid: process.ppid, start: '1' });
  const attempt = open(undefined, { onTakeover: (_, { pid }) => told.push(pid) }).take(a);
  assert.ok('held' in attempt && attempt.takenOver);
  assert.equal(told.sort(), [process.ppid, 4_190_000].sort());
});

test("another host's claim counts until its heartbeat has been silent, whatever its times say", ({
  dir,
  open,
  pass,
}) => {
  const leases = open(),
    heart = createHeart(dir, { ...newOwner(), host: FAR }, SILENT),
    claim = path.join(dir, `${a}.${path.basename(heart.file)}`);
  heart.beat();
  writeFileSync(claim, '');
  const setTimes = (file: string, seconds: number): void =>
    utimesSync(file, Date.now() / 1000 + seconds, Date.now() / 1000 + seconds);
  for (let n = 0; n < 5; n++) {
    // The other host's clock is an hour behind, or the stamps come from a cache.
    for (const file of [claim, heart.file]) setTimes(file, -3600);
    assert.ok(isBusy(leases, a), `beat ${n}`);
    pass(SILENT - 1);
    heart.beat();
  }
  assert.ok(isBusy(leases, a));
  // It falls silent, with stamps from the future.
  for (const file of [claim, heart.file]) setTimes(file, 3600);
  for (const ms of [SILENT / 2, SILENT / 2]) {
    pass(ms);
    assert.ok(isBusy(leases, a));
  }
  pass(1);
  const attempt = leases.take(a);
  assert.ok('held' in attempt && attempt.takenOver);
  assert.not.ok(existsSync(claim));
  assert.ok(leases.isShared);
});

test('silence counts only while it is watched, and as long as the heartbeat says', ({ dir }) => {
  let now = 0;
  const far = { ...newOwner(), host: FAR },
    watch = createWatch(dir, 1000, () => now);
  const silentAfter = (...steps: readonly number[]): boolean => {
    let silent = false;
    for (const ms of steps) {
      now += ms;
      silent = watch.isSilent(far);
    }
    return silent;
  };
  assert.not.ok(silentAfter(0, 1000));
  assert.ok(silentAfter(1)); // no heartbeat at all
  createHeart(dir, far, 4000).beat();
  assert.not.ok(silentAfter(1, 2000, 2000));
  assert.ok(watch.hasBeaten(far));
  // This process was stopped: whatever it had watched does not count.
  assert.not.ok(silentAfter(60_000, 2000, 2000));
  assert.ok(silentAfter(1));
  const file = path.join(dir, ownerName(far));
  for (const [text, ms] of [
    ['000000000001 00000000\n', 100],
    ['000000000001 99999999\n', 3600_000],
    ['x'.repeat(1 << 16), 1000],
  ] as const) {
    writeFileSync(file, text);
    const step = ms / 2;
    assert.not.ok(silentAfter(0, step, step), text.slice(0, 40));
    assert.ok(silentAfter(1));
  }
});

test('a heartbeat that a cache shows late is not taken for silence', ({ dir }) => {
  let now = 0,
    shown: string | null = '000000000001 00001000\n';
  const watch = createWatch(
    dir,
    1000,
    () => now,
    () => shown,
  );
  const far = { ...newOwner(), host: FAR };
  assert.not.ok(watch.isSilent(far));
  // Each beat shows 900 ms late, and between two of them the file can't be read once.
  for (let beat = 2; beat < 6; beat++) {
    now += 900;
    assert.not.ok(watch.isSilent(far));
    now += 50;
    shown = null;
    watch.look();
    shown = `00000000000${beat} 00001000\n`;
    assert.not.ok(watch.isSilent(far));
  }
});

test('a holder that was stopped and lost its lease notices it; one that did not keeps it', ({
  dir,
  open,
}) => {
  const mine = open(),
    theirs = open(FAR);
  const lost = held(mine, a),
    kept = held(mine, b);
  assert.ok(isBusy(theirs, a));
  assert.ok(kept.stands() && lost.stands());
  // Another host has watched it be silent. (Here it would see this process's id alive.)
  for (const name of claims(dir)) if (name.startsWith(a)) rmSync(path.join(dir, name));
  const taken = held(theirs, a);
  assert.not.ok(lost.stands());
  assert.ok(lost.lost.aborted);
  assert.ok(kept.stands());
  assert.not.ok(kept.lost.aborted);
  // What the loser does afterwards touches nobody's claim.
  lost.release();
  assert.ok(taken.stands());
  assert.ok(isBusy(mine, a));
  taken.release();
  held(mine, a);
});

test('a listing from a cache, without the own claim, proves nothing', ({ dir, open }) => {
  let cached: string[] | null = [];
  const mine = open(undefined, { list: (folder) => cached ?? readdirSync(folder) });
  const theirs = held(open(FAR), a);
  assert.ok(isBusy(mine, a));
  assert.is(claims(dir).length, 1); // nothing of ours is left
  cached = null;
  assert.ok(isBusy(mine, a));
  theirs.release();
  const lease = held(mine, a);
  cached = [];
  assert.ok(lease.stands());
  assert.throws(() => {
    for (let n = 0; n < 1000; n++) assert.ok(isBusy(mine, b));
  }, /does not show in the folder/);
});

test('the silence that is allowed comes from the environment', () => {
  assert.is(leaseTimeout({}), 30_000);
  assert.is(leaseTimeout({ DOSIMETER_LEASE_SECONDS: ' 2.5 ' }), 2500);
  for (const wrong of ['0', '-1', 'NaN', 'soon', '1e9'])
    assert.throws(
      () => leaseTimeout({ DOSIMETER_LEASE_SECONDS: wrong }),
      /DOSIMETER_LEASE_SECONDS is .* from 0.1 to 3600/,
    );
});

test.run();
