import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createQueue } from '../../../src/run/execute/queue.ts';

const need = { cpu: 1, memoryMB: 0, gpu: 0 };

/** Adds tasks while another one runs, and returns the order in which they start. */
async function started(
  turns: readonly { readonly name: string; readonly priority: number; readonly place: number }[],
): Promise<string[]> {
  const queue = createQueue({ cores: 1, computesOnGpu: false }),
    order: string[] = [];
  let release = (): void => undefined;
  const held = queue.add(
    () =>
      new Promise<void>((resolve) => {
        release = resolve;
      }),
    { need, priority: 9, place: 0 },
  );
  const all = turns.map(({ name, ...turn }) =>
    queue.add(
      () => {
        order.push(name);
        return Promise.resolve();
      },
      { need, ...turn },
    ),
  );
  release();
  await Promise.all([held, ...all]);
  return order;
}

test('tasks that wait start in the order of their places, not of their arrival', async () => {
  const turns = ['c', 'a', 'd', 'b'].map((name) => ({
    name,
    priority: 1,
    place: name.charCodeAt(0),
  }));
  assert.equal(await started(turns), ['a', 'b', 'c', 'd']);
});

test('a higher priority goes before a lower place', async () => {
  const turns = [
    { name: 'low', priority: 0, place: 0 },
    { name: 'high', priority: 1, place: 1 },
  ];
  assert.equal(await started(turns), ['high', 'low']);
});

test('tasks with the same place start in the order in which they came', async () => {
  const turns = ['x', 'y', 'z'].map((name) => ({ name, priority: 0, place: 0 }));
  assert.equal(await started(turns), ['x', 'y', 'z']);
});

test.run();
