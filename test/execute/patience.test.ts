import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkPatience, forKind } from '../../src/execute/patience.ts';
import type { Failed, Finished } from '../../src/execute/types.ts';
import { createProject, writeToys } from '../rig/project.ts';
import type { Rig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('retries and time limits');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** A stage that counts its runs in a file and then does what it is told. */
const counted = async (rig: Rig, body: string): Promise<void> =>
  rig.plugin(
    'stage',
    'train',
    `{
  compute: false, scope: 'cell', define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
  run: async (ctx) => {
    const { appendFileSync, readFileSync, writeFileSync } = await import('node:fs');
    const file = ${JSON.stringify(path.join(rig.dir, 'tries'))};
    appendFileSync(file, '.');
    const n = readFileSync(file, 'utf8').length;
    ${body}
    writeFileSync(ctx.outDir + '/out.txt', 'the result');
  },
}`,
  );
const one = experiment(['train'], [cell(1)]);

test('a stage that fails twice and then works is one result, under the same key as without retries', async ({
  rig,
}) => {
  await counted(rig, 'if (n === 1) throw new Error("odd"); if (n === 2) process.exit(3);');
  const { outcomes, events } = await rig.run(one, { patience: { retries: { train: 2 } } });
  const outcome = outcomes['train/1'] as Finished;
  assert.is(outcome.state, 'ran');
  assert.is(readFileSync(path.join(outcome.dir, 'out.txt'), 'utf8'), 'the result');
  assert.equal(
    events.flatMap((event) =>
      event.type === 'note' ? [event.message.replace(/^train-\w+/, 'train')] : [],
    ),
    [
      'train failed (internal error: odd); try 2 of 3',
      'train failed (its process went without a word (exit code 3)); try 3 of 3',
    ],
  );
  assert.equal((await rig.run(one)).outcomes['train/1'], { ...outcome, state: 'cached' });
});

test('no more tries than were asked for, and none for another kind', async ({ rig }) => {
  await counted(rig, 'throw new Error("always");');
  assert.is(
    (await rig.run(one, { patience: { retries: 1 } })).outcomes['train/1']!.state,
    'failed',
  );
  assert.is(rig.read('tries').length, 2);
  await rig.run(one, { patience: { retries: { evaluate: 5 } } });
  assert.is(rig.read('tries').length, 3);
});

test('a stage that does not end is ended, whether it heeds the signal or not; the rest goes on', async ({
  rig,
}) => {
  await counted(
    rig,
    `
    if (ctx.params.seed === 1) await new Promise((resolve) => setTimeout(resolve, 60_000));
    if (ctx.params.seed === 2) await new Promise((resolve, reject) => ctx.signal.addEventListener('abort', () => reject(new Error('heard'))));
  `,
  );
  const started = performance.now();
  const { outcomes } = await rig.run(experiment(['train'], [cell(1), cell(2), cell(3)]), {
    patience: { timeout: 2 },
  });
  for (const name of ['train/1', 'train/2']) {
    const { state, error, hint } = outcomes[name] as Failed;
    assert.equal(
      [state, error, hint],
      [
        'failed',
        'it ran for more than 2 s and was ended',
        '--timeout sets how long a stage may run',
      ],
    );
  }
  assert.is(outcomes['train/3']!.state, 'ran');
  assert.ok(performance.now() - started < 30_000);
});

test('one number for all, or one a kind; nonsense is refused', () => {
  assert.equal(
    [
      forKind(undefined, 'train'),
      forKind(2, 'train'),
      forKind({ train: 3 }, 'train'),
      forKind({ train: 3 }, 'poison'),
      forKind({ train: 3, '*': 1 }, 'poison'),
      forKind({}, 'toString'),
    ],
    [null, 2, 3, null, 1, null],
  );
  checkPatience({ retries: { train: 0, '*': 2 }, timeout: 0.5 }, ['train']);
  for (const [patience, message] of [
    [{ retries: { trian: 1 } }, /retries: there is no stage "trian"/],
    [{ retries: 1.5 }, /whole number/],
    [{ retries: -1 }, /whole number/],
    [{ timeout: 0 }, /above 0/],
    [{ timeout: { '*': NaN } }, /above 0/],
    [{ timeout: 1e9 }, /24 days/],
  ] as const)
    assert.throws(() => checkPatience(patience, ['train']), message);
});

test('on the command line', async () => {
  const project = createProject();
  try {
    writeToys(project, { seeds: [1], poisoning: '[{ attack: none }]' });
    for (const [option, message] of [
      ['--timeout=soon', /--timeout takes a time such as 90s, 30m or 2h, got "soon"/],
      ['--retries=-1', /--retries takes a whole number/],
      ['--retries=trian=1', /there is no stage "trian"/],
    ] as const) {
      const said = await project.dosimeter('run', 'spec.yaml', option);
      assert.is(said.code, 2, said.stderr);
      assert.match(said.stderr, message);
    }
    project.write('toy.json', '{"1": "hang"}');
    const { code, stderr } = await project.dosimeter(
      'run',
      'spec.yaml',
      '--timeout',
      '2h',
      '--timeout',
      'toy-train=1.5s',
      '--retries',
      'toy-train=1',
    );
    assert.is(code, 1);
    assert.match(
      stderr,
      /toy-train-\w+ failed \(it ran for more than 1\.5 s and was ended\); try 2 of 2/,
    );
    assert.match(
      stderr,
      /failed: toy-train: it ran for more than 1\.5 s and was ended\n {2}--timeout sets/,
    );
  } finally {
    project.clean();
  }
});

test.run();
