/** The processes of benches. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openInTime, openPlayer, type Player } from '../../bench/processes.ts';

interface Turn {
  readonly last: boolean;
}

/** A process that is ready at once and has one turn, or one that is never ready. */
const playing = (ready: boolean, signal?: AbortSignal): Promise<Player<Turn, string>> => {
  const program = ready
    ? `process.stdin.once('data', () => {
         console.log('{}');
         process.stdin.once('data', () => console.log('{"last":true}\\n"the end"'));
       })`
    : 'setInterval(() => {}, 1000)';
  return openPlayer(process.execPath, ['-e', program], {}, {}, signal);
};

test('a bounded side that is not warm in time is ended, and the others play on', async () => {
  const sides = await openInTime(
    [
      { name: 'ours', open: () => playing(true) },
      { name: 'crawls', bounded: true, open: (signal) => playing(false, signal) },
    ],
    { times: 1, least: 0 },
  );
  assert.is(sides[1], null);
  assert.equal(await sides[0]?.turn(), { last: true });
  assert.is(await sides[0]?.end, 'the end');
});

test('a bounded side that is warm in time plays, and one that fails is not taken for slow', async () => {
  const [side] = await openInTime(
    [{ name: 'quick', bounded: true, open: (signal) => playing(true, signal) }],
    { times: 1, least: 600 },
  );
  assert.equal(await side?.turn(), { last: true });
  await side?.end;
  let fault: unknown;
  await openInTime([{ name: 'broken', bounded: true, open: () => Promise.reject(Error('no')) }], {
    times: 1,
    least: 600,
  }).catch((error: unknown) => {
    fault = error;
  });
  assert.is((fault as Error).message, 'no');
});

test.run();
