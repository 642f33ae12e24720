import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { meeting, type Seat } from '../../src/base/meeting.ts';
import { rejects } from '../rig/rejects.ts';

const test = suite('base/meeting');

/** Answers each number with all that were asked for at once. */
const all = (requests: readonly number[]): Promise<readonly string[]> =>
  Promise.resolve(requests.map((own) => `${own} of ${requests.join()}`));

const seats = () => meeting(3) as readonly [Seat, Seat, Seat];

test('each waits for every member, and gets its own answer', async () => {
  const [one, two, three] = seats();
  const asked = [one.ask(1, all), two.ask(2, all)];
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await Promise.all([...asked, three.ask(3, all)]), [
    '1 of 1,2,3',
    '2 of 1,2,3',
    '3 of 1,2,3',
  ]);
});

test('those who have left are not waited for', async () => {
  const [one, two, three] = seats();
  const asked = [one.ask(1, all), two.ask(2, all)];
  three.leave();
  three.leave();
  assert.equal(await Promise.all(asked), ['1 of 1,2', '2 of 1,2']);
  two.leave();
  assert.is(await one.ask(4, all), '4 of 4');
});

test('an error is everyone’s, and the next request is answered', async () => {
  const [one, two, three] = seats();
  three.leave();
  const fails = (): Promise<never> => Promise.reject(new Error('no'));
  await Promise.all([rejects(one.ask(1, fails), /no/), rejects(two.ask(2, fails), /no/)]);
  assert.equal(await Promise.all([one.ask(1, all), two.ask(2, all)]), ['1 of 1,2', '2 of 1,2']);
});

test('who must stop is answered alone, and the others go on without it', async () => {
  const [one, two, three] = seats(),
    stop = new AbortController();
  const asked = one.ask(1, all, stop.signal),
    waits = two.ask(2, all);
  stop.abort();
  assert.is(await asked, '1 of 1');
  assert.is(await one.ask(1, all, stop.signal), '1 of 1');
  one.leave();
  assert.equal(await Promise.all([waits, three.ask(3, all)]), ['2 of 2,3', '3 of 2,3']);
});

test.run();
