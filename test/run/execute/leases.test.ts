/** Several runs on one store: leases keep them out of each other's way. */
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { newOwner, ownerName } from '../../../src/store/owner.ts';
import { createRig, type Rig } from '../../rig/rig.ts';
import { chain, fileOf, grid, trainings } from './chain.ts';
import { notesOf, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('leases');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

test('two runs at once on one store make each stage once', async ({ rig }) => {
  await chain(rig, {
    async train({ put, seed, sleep }) {
      await sleep(30);
      put('model.txt', `m${seed}`);
    },
  });
  const results = await Promise.all([rig.run(grid, { jobs: 1 }), rig.run(grid, { jobs: 1 })]);
  const made: { [kind: string]: number } = {};
  for (const { outcomes, ran } of results) {
    for (const outcome of Object.values(outcomes))
      assert.ok(outcome.state === 'ran' || outcome.state === 'cached');
    for (const [kind, n] of Object.entries(ran)) made[kind] = (made[kind] ?? 0) + n;
  }
  assert.equal(made, { data: 1, train: 3, evaluate: 3, report: 1 });
});

test('a suspended run that lost its lease discards its output and waits', async ({ rig }) => {
  const leases = path.join(rig.storeDir, 'leases'),
    far = ownerName({ ...newOwner(), host: '0123456789ab' });
  // The stage does what a run on another host does when it has heard nothing for a while: it takes
  // over the leases.
  await chain(rig, {
    given: { leases, far, lost: fileOf(rig, 'lost') },
    train({ fs, given, put }) {
      const { leases = '', far = '', lost = '' } = given;
      const isFirst = !fs.existsSync(lost);
      put('model.txt', isFirst ? 'first' : 'second');
      if (!isFirst) return;
      fs.writeFileSync(lost, '');
      for (const name of fs.readdirSync(leases)) {
        const [, key] = /^([0-9a-f]{64})\./.exec(name) ?? [];
        if (key === undefined) continue;
        fs.rmSync(`${leases}/${name}`);
        fs.writeFileSync(`${leases}/${key}.${far}`, 'held\n');
      }
    },
  });
  const result = await rig.run(trainings(1), {
    onEvent(event) {
      // The other run ends without storing an entry as soon as this one waits for it.
      if (event.type === 'note' && event.message.includes('waiting'))
        for (const name of readdirSync(leases))
          if (name.endsWith(far)) rmSync(path.join(leases, name));
    },
  });
  const [lost = '', waits = ''] = notesOf(result);
  assert.match(lost, /another run took over its lease .* is discarded/);
  assert.match(waits, /another run is making it; waiting/);
  assert.is(result.outcomes['train/1']?.state, 'ran');
  assert.is(outputOf(result.outcomes['train/1'], 'model.txt'), 'second');
  assert.equal(readdirSync(path.join(rig.storeDir, 'tmp')), []);
});

test('a stage whose lease is lost is ended at once, without a result', async ({ rig }) => {
  const leases = path.join(rig.storeDir, 'leases'),
    lost = fileOf(rig, 'lost'),
    far = ownerName({ ...newOwner(), host: '0123456789ab' });
  await chain(rig, {
    given: { leases, far, lost },
    train({ fs, given, put, hang }) {
      const { leases = '', far = '', lost = '' } = given;
      put('model.txt', 'half');
      if (fs.existsSync(lost)) return;
      // Another host takes over the lease, as it does while this run is stopped.
      for (const name of fs.readdirSync(leases)) {
        const [, key] = /^([0-9a-f]{64})\./.exec(name) ?? [];
        if (key === undefined) continue;
        fs.rmSync(`${leases}/${name}`);
        fs.writeFileSync(`${leases}/${key}.${far}`, 'held\n');
      }
      fs.writeFileSync(lost, '');
      return hang();
    },
  });
  const result = await rig.run(trainings(1), {
    leases: { timeoutMs: 600 },
    onEvent(event) {
      if (event.type === 'note' && event.message.includes('waiting'))
        for (const name of readdirSync(leases))
          if (name.endsWith(far)) rmSync(path.join(leases, name));
    },
  });
  assert.match(notesOf(result)[0] ?? '', /another run took over its lease .* is discarded/);
  assert.is(result.outcomes['train/1']?.state, 'ran');
  assert.equal(readdirSync(path.join(rig.storeDir, 'tmp')), []);
});

test.run();
