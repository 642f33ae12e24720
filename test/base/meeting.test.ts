import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Meeting } from '../../src/base/meeting.ts';
import { rejects } from '../rig/rejects.ts';

const test = suite('base/meeting');

/** Answers each number with all that were asked for at once. */
const all = (requests: readonly number[]): Promise<readonly string[]> =>
  Promise.resolve(requests.map((own) => `${own} of ${requests.join()}`));

test('each waits for every member, and gets its own answer', async () => {
  const meeting = new Meeting(3);
  const asked = [1, 2].map((own) => meeting.ask(own, all));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await Promise.all([...asked, meeting.ask(3, all)]), [
    '1 of 1,2,3',
    '2 of 1,2,3',
    '3 of 1,2,3',
  ]);
});

test('those who have left are not waited for', async () => {
  const meeting = new Meeting(3);
  const asked = [1, 2].map((own) => meeting.ask(own, all));
  meeting.leave();
  assert.equal(await Promise.all(asked), ['1 of 1,2', '2 of 1,2']);
  meeting.leave();
  assert.is(await meeting.ask(4, all), '4 of 4');
});

test('an error is everyone’s, and the next request is answered', async () => {
  const meeting = new Meeting(2);
  const fails = (): Promise<never> => Promise.reject(new Error('no'));
  await Promise.all([rejects(meeting.ask(1, fails), /no/), rejects(meeting.ask(2, fails), /no/)]);
  assert.equal(await Promise.all([meeting.ask(1, all), meeting.ask(2, all)]), [
    '1 of 1,2',
    '2 of 1,2',
  ]);
});

test('who must stop is answered alone, and the others go on without it', async () => {
  const meeting = new Meeting(3),
    stop = new AbortController();
  const one = meeting.ask(1, all, stop.signal),
    two = meeting.ask(2, all);
  stop.abort();
  assert.is(await one, '1 of 1');
  assert.is(await meeting.ask(1, all, stop.signal), '1 of 1');
  meeting.leave();
  assert.equal(await Promise.all([two, meeting.ask(3, all)]), ['2 of 2,3', '3 of 2,3']);
});

test.run();
