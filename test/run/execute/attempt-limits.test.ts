import { Option } from 'commander';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toFlag } from '../../../src/cli/options.ts';
import {
  ATTEMPT_LIMIT_OPTIONS,
  checkAttemptLimits,
  valueForKind,
} from '../../../src/run/execute/attempt-limits.ts';
import { createProject, writeToys } from '../../rig/project.ts';
import { createRig, type Rig } from '../../rig/rig.ts';
import { fileOf, trainings } from './chain.ts';
import { addStage, failed, finished, notesOf, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('retries and time limits');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

const one = trainings(1);
/** A file that gets a dot for each attempt. */
const attemptsOf = (rig: Rig): { readonly attempts: string } => ({
  attempts: fileOf(rig, 'attempts'),
});

test('a stage that works at the third attempt has the same key as without retries', async ({
  rig,
}) => {
  await addStage(rig, 'train', {
    given: attemptsOf(rig),
    run({ fs, given, put }) {
      const { attempts = '' } = given;
      fs.appendFileSync(attempts, '.');
      const n = fs.readFileSync(attempts, 'utf8').length;
      if (n === 1) throw new Error('odd');
      if (n === 2) process.exit(3);
      put('out.txt', 'the result');
    },
  });
  const result = await rig.run(one, { attemptLimits: { retries: { train: 2 } } });
  const outcome = finished(result.outcomes['train/1']);
  assert.is(outcome.state, 'ran');
  assert.is(outputOf(outcome, 'out.txt'), 'the result');
  assert.equal(
    notesOf(result).map((note) => note.replace(/^train-\w+/, 'train')),
    [
      'train failed (internal error: odd); try 2 of 3',
      'train failed (its process ended without reporting a result (exit code 3)); try 3 of 3',
    ],
  );
  const { bytes, ...ran } = outcome;
  assert.is(bytes, 'the result'.length);
  assert.equal((await rig.run(one)).outcomes['train/1'], { ...ran, state: 'cached' });
});

test('there are no more attempts than were asked for, and none for another kind', async ({
  rig,
}) => {
  await addStage(rig, 'train', {
    given: attemptsOf(rig),
    run({ fs, given }) {
      fs.appendFileSync(given['attempts'] ?? '', '.');
      throw new Error('always');
    },
  });
  const { outcomes } = await rig.run(one, { attemptLimits: { retries: 1 } });
  assert.is(outcomes['train/1']?.state, 'failed');
  assert.is(rig.read('attempts').length, 2);
  await rig.run(one, { attemptLimits: { retries: { evaluate: 5 } } });
  assert.is(rig.read('attempts').length, 3);
});

test('a stage that does not end is ended, whether or not it heeds the signal', async ({ rig }) => {
  await addStage(rig, 'train', {
    async run({ ctx, put, seed, sleep }) {
      if (seed === 1) await sleep(60_000);
      if (seed === 2)
        await new Promise((_, reject) => {
          ctx.signal.addEventListener('abort', () => reject(new Error('heard')));
        });
      put('out.txt', 'the result');
    },
  });
  const started = performance.now();
  const { outcomes } = await rig.run(trainings(1, 2, 3), { attemptLimits: { timeout: 2 } });
  for (const name of ['train/1', 'train/2']) {
    const { error, hint } = failed(outcomes[name]);
    assert.is(error, 'it ran for more than 2 s and was ended');
    assert.is(hint, '--timeout sets how long a stage may run');
  }
  assert.is(outcomes['train/3']?.state, 'ran');
  assert.ok(performance.now() - started < 30_000);
});

test('the command line has the formats of each option', () => {
  const { retries, timeout } = ATTEMPT_LIMIT_OPTIONS;
  assert.equal(
    ['2', '0', '-1', '1.5', ''].map((text) => retries.parse(text)),
    [2, 0, null, null, null],
  );
  assert.equal(
    ['90s', '30 m', '2h', '1.5', 'soon'].map((text) => timeout.parse(text)),
    [90, 1800, 7200, 1.5, null],
  );
});

test('an option of several words has hyphens in its flag, and keeps its name', () => {
  assert.is(toFlag('retryDelay'), '--retry-delay');
  for (const name of [...Object.keys(ATTEMPT_LIMIT_OPTIONS), 'retryDelay'])
    assert.is(new Option(toFlag(name)).attributeName(), name);
});

test('an option is one number for all kinds, or one for each; nonsense is refused', () => {
  assert.equal(
    [
      valueForKind(undefined, 'train'),
      valueForKind(2, 'train'),
      valueForKind({ train: 3 }, 'train'),
      valueForKind({ train: 3 }, 'poison'),
      valueForKind({ train: 3, '*': 1 }, 'poison'),
      valueForKind({}, 'toString'),
    ],
    [null, 2, 3, null, 1, null],
  );
  checkAttemptLimits({ retries: { train: 0, '*': 2 }, timeout: 0.5 }, ['train']);
  for (const [attemptLimits, message] of [
    [{ retries: { trian: 1 } }, /retries: there is no stage "trian"/],
    [{ retries: 1.5 }, /whole number/],
    [{ retries: -1 }, /whole number/],
    [{ timeout: 0 }, /above 0/],
    [{ timeout: { '*': NaN } }, /above 0/],
    [{ timeout: 1e9 }, /24 days/],
  ] as const)
    assert.throws(() => checkAttemptLimits(attemptLimits, ['train']), message);
});

test('the options of the command line reach the stages', async () => {
  const project = createProject();
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
    ...['run', 'spec.yaml', '--timeout', '2h', '--timeout', 'toy-train=1.5s', '--retries'],
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
});

test.run();
