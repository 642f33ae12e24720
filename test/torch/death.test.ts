import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { script, standInPython, watchedLife } from './rig.ts';

const test = suite('torch/death');
const DOSIMETER_PYTHON = standInPython();

test('it does not keep Node alive, and ends with it', async () => {
  const { fifo, life } = watchedLife();
  const { code, stdout } = await script(
    `const worker = await torchWorker();
     await open(worker, 'nothing');
     console.log('done');`,
    { DOSIMETER_PYTHON, STAND_IN_FIFO: fifo },
  ).ended;
  assert.equal([code, stdout], [0, 'done\n']);
  await life.ended;
});

test('it ends with a Node that is killed while it starts', async () => {
  const { fifo, life } = watchedLife();
  const node = script('await torchWorker();', {
    DOSIMETER_PYTHON,
    STAND_IN_FIFO: fifo,
    STAND_IN_START: 'hang',
  });
  await node.reaches(life.pid);
  node.process.kill('SIGKILL');
  await life.ended;
});

for (const [how, what] of [
  ['in C, where Python does nothing', 'compute'],
  ['and has only the end of its pipe to go by', 'sleep without the signal'],
] as const)
  test(`it ends with a Node that is killed while it computes ${how}`, async () => {
    const { fifo, life } = watchedLife();
    const node = script(
      `const worker = await torchWorker();
       await open(worker, '${what}');`,
      { DOSIMETER_PYTHON, STAND_IN_FIFO: fifo },
    );
    await node.reaches(life.begun);
    node.process.kill('SIGKILL');
    await life.ended;
  });

test.run();
