import { rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cell, createRig, experiment, type Rig } from '../../rig/rig.ts';
import { chain, fileOf, grid, trainings } from './chain.ts';
import { addStage, type Body, failed, finished, logOf, notesOf, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('executePlan');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

test('runs each distinct stage once, and nothing the second time', async ({ rig }) => {
  await chain(rig);
  const first = await rig.run(grid);
  assert.equal(first.ran, { data: 1, train: 3, evaluate: 3, report: 1 });
  assert.is(outputOf(first.outcomes['train/2'], 'model.txt'), 'rows2none');
  assert.equal((await rig.run(grid)).ran, {});
});

test('a wider grid runs only what is new', async ({ rig }) => {
  await chain(rig);
  await rig.run(grid);
  const wider = experiment(['train', 'evaluate', 'report'], [cell(4), cell(1), cell(2), cell(3)]);
  assert.equal((await rig.run(wider)).ran, { train: 1, evaluate: 1, report: 1 });
});

test('an edited plugin runs again, and what follows only if its output has changed', async ({
  rig,
}) => {
  await chain(rig);
  await rig.run(grid);
  await chain(rig, { data: ({ put }) => put('rows.jsonl', ['ro', 'ws'].join('')) });
  assert.equal((await rig.run(grid)).ran, { data: 1 });
  await chain(rig, { data: ({ put }) => put('rows.jsonl', 'other') });
  assert.equal((await rig.run(grid)).ran, { data: 1, train: 3, evaluate: 3, report: 1 });
});

test('a warning is stored beside the output, told once, and in no key', async ({ rig }) => {
  const trainWith = (warning: string): Promise<void> =>
    addStage(rig, 'train', {
      inputs: { data: 'data' },
      given: { warning },
      run({ ctx, put, seed, given }) {
        put('model.txt', `m${seed}`);
        const warning = { path: [], message: given['warning'] ?? '', hint: 'look at it' };
        ctx.warn(warning);
        ctx.warn(warning);
      },
    });
  await chain(rig);
  await trainWith('3 rows are empty\u001b[2J');
  const first = await rig.run(grid);
  const told = (notes: readonly string[]): readonly string[] =>
    notes.filter((note) => note.includes('empty'));
  assert.equal(told(notesOf(first)), ['3 rows are empty\ufffd[2J\n  look at it']);
  assert.equal(JSON.parse(outputOf(first.outcomes['train/2'], 'warnings.json')), [
    { path: [], message: '3 rows are empty\u001b[2J', hint: 'look at it' },
  ]);
  // What a run finds once it knows the key, which a remote may have, is told in the same way.
  await chain(rig, { data: ({ put }) => put('rows.jsonl', ['ro', 'ws'].join('')) });
  await trainWith('3 rows are empty\u001b[2J');
  const second = await rig.run(grid);
  assert.equal(second.ran, { data: 1 });
  assert.equal(told(notesOf(second)), told(notesOf(first)));
  await trainWith('4 rows are empty');
  assert.equal((await rig.run(grid)).ran, { train: 3 });
});

test('a stage that writes a file of the name of its warnings fails', async ({ rig }) => {
  await chain(rig, { data: ({ put }) => put('warnings.json', '[]') });
  const { outcomes } = await rig.run(grid);
  assert.match(failed(outcomes['data']).error, 'wrote a file warnings.json');
});

test('volatile files are stored, but are in no key of what follows', async ({ rig }) => {
  const trainIn = (seconds: string): Promise<void> =>
    addStage(rig, 'train', {
      inputs: { data: 'data' },
      volatile: ['metrics.json'],
      given: { seconds },
      run({ put, seed, given }) {
        put('model.txt', `m${seed}`);
        put('metrics.json', `{"seconds": ${given['seconds'] ?? ''}}`);
      },
    });
  await chain(rig);
  await trainIn('1');
  await rig.run(grid);
  await trainIn('2');
  const { ran, outcomes } = await rig.run(grid);
  assert.equal(ran, { train: 3 });
  assert.is(outputOf(outcomes['train/1'], 'metrics.json'), '{"seconds": 2}');
});

test('a failure blocks only what needs it, and the report tells of it', async ({ rig }) => {
  await chain(rig, {
    train({ put, fault, seed }) {
      if (seed === 2) fault('loss is NaN at step 7', 'lower the rate');
      put('model.txt', 'm');
    },
  });
  const { outcomes, ran } = await rig.run(grid);
  // Seeds 1 and 3 lead to the same model, and so to one evaluation.
  assert.equal(ran, { data: 1, train: 2, evaluate: 1, report: 1 });
  assert.equal(
    { ...outcomes['train/2'], log: null },
    {
      state: 'failed',
      error: 'loss is NaN at step 7',
      hint: 'lower the rate',
      internal: false,
      log: null,
    },
  );
  const blocked = outcomes['evaluate/2'];
  assert.is(blocked?.state, 'blocked');
  const report = JSON.parse(outputOf(outcomes['report'], 'report.html')) as {
    inputs: string[];
    facts: { stages: { id: string; kind: string; seed: number; state: string; error?: string }[] };
  };
  assert.equal(report.inputs, ['evaluate-0', 'evaluate-2']);
  const missing = report.facts.stages.filter(({ state }) => ['failed', 'blocked'].includes(state));
  const training = missing.find(({ kind }) => kind === 'train')?.id ?? '';
  assert.equal(
    missing.map(({ kind, seed, error }) => [kind, seed, error]),
    [
      ['train', 2, 'loss is NaN at step 7'],
      ['evaluate', 2, `needs ${training}, which failed: loss is NaN at step 7`],
    ],
  );
  await chain(rig);
  assert.is((await rig.run(grid)).ran['report'], 1, 'once mended, the report is made of all');
});

test('an internal error has its stack in the log, and not in its message', async ({ rig }) => {
  await chain(rig, {
    train() {
      throw new TypeError('no such field');
    },
  });
  const { error, internal, log } = failed((await rig.run(trainings(1))).outcomes['train/1']);
  assert.equal([error, internal], ['internal error: no such field', true]);
  assert.match(
    rig.read(path.relative(rig.dir, log ?? '')),
    /TypeError.*\n(.*\n)*.*stage-train-[0-9a-f]+\.mjs:\d+/,
  );
});

const misbehaviours: readonly (readonly [what: string, body: Body, error: RegExp])[] = [
  [
    'exits without a result',
    () => {
      process.exit(0);
    },
    /ended without reporting a result \(exit code 0\)/,
  ],
  [
    'is killed',
    ({ hang }) => {
      process.kill(process.pid, 'SIGKILL');
      return hang();
    },
    /ended without reporting a result \(ended by SIGKILL\)/,
  ],
  ['writes nothing', () => undefined, /internal error: the stage "train" wrote no file/],
  [
    'returns something',
    ({ put }) => {
      put('a', 'b');
      return { loss: 1 } as never; // as a plugin in plain JavaScript may
    },
    /internal error: the stage "train" returned object/,
  ],
  [
    'throws what is not an Error',
    () => {
      // eslint-disable-next-line @typescript-eslint/only-throw-error -- as a plugin may
      throw 'words';
    },
    /it threw words, which is not an Error/,
  ],
  [
    'throws in a callback',
    ({ hang }) => {
      setTimeout(() => {
        throw new Error('late');
      }, 1);
      return hang();
    },
    /internal error: late/,
  ],
  [
    'forgets a rejected promise',
    ({ hang }) => {
      void Promise.reject(new Error('forgotten'));
      return hang();
    },
    /internal error: forgotten/,
  ],
  ["writes the store's own file", ({ put }) => put('manifest.json', '{}'), /wrote manifest\.json/],
  [
    'writes a link',
    ({ ctx, fs }) => fs.symlinkSync('/etc/passwd', `${ctx.outDir}/link`),
    /neither a file nor a folder/,
  ],
];

for (const [what, body, error] of misbehaviours)
  test(`a stage that ${what} fails alone`, async ({ rig }) => {
    await chain(rig, { train: body });
    await addStage(rig, 'other', { run: ({ put, seed }) => put('out.txt', String(seed)) });
    const both = experiment(['train', 'other'], [cell(1)]);
    const { outcomes } = await rig.run(both, { jobs: 1 });
    assert.match(failed(outcomes['train/1']).error, error);
    assert.is(outcomes['other/1']?.state, 'ran');
  });

test('a stage that prints without end is cut short in its log, and finishes', async ({ rig }) => {
  await chain(rig, {
    train({ put }) {
      const line = `${'x'.repeat(1023)}\n`;
      for (let i = 0; i < 20_000; i++) process.stdout.write(line);
      console.log('end');
      put('model.txt', 'm');
    },
  });
  const result = await rig.run(trainings(1));
  assert.is(result.outcomes['train/1']?.state, 'ran');
  const log = logOf(result, 'train');
  assert.ok(log.length < 13 * 1024 * 1024, `${log.length}`);
  assert.match(log, /beyond 10 MB is not kept/);
});

test('what a stage prints and logs is in its log', async ({ rig }) => {
  await chain(rig, {
    train({ ctx, put }) {
      console.log('to stdout');
      console.error('to stderr');
      ctx.log('by log');
      put('model.txt', 'm');
    },
  });
  const log = logOf(await rig.run(trainings(1)), 'train');
  for (const line of ['| to stdout', '| to stderr', 'by log', 'done in'])
    assert.ok(log.includes(line), `${line} in ${log}`);
});

test('with failFast, nothing starts after a failure', async ({ rig }) => {
  await chain(rig, {
    data() {
      throw new Error('no');
    },
  });
  await addStage(rig, 'other', { run: ({ put }) => put('a', '') });
  const { outcomes, ran } = await rig.run(experiment(['train', 'other'], [cell(1), cell(2)]), {
    jobs: 1,
    failFast: true,
  });
  assert.is(outcomes['data']?.state, 'failed');
  assert.equal(ran, {});
  assert.equal(
    [outcomes['other/1']?.state, outcomes['other/2']?.state],
    ['abandoned', 'abandoned'],
  );
});

test('an abort ends what runs, even if it does not listen, and keeps what is finished', async ({
  rig,
}) => {
  await chain(rig, { train: ({ hang }) => hang() });
  const stop = new AbortController();
  const { outcomes } = await rig.run(grid, {
    signal: stop.signal,
    onEvent: (event) => {
      if (event.type === 'stage-started' && event.stage.kind === 'train') stop.abort();
    },
  });
  assert.is(outcomes['data']?.state, 'ran');
  for (const name of ['train/1', 'train/2', 'evaluate/1', 'report'])
    assert.is(outcomes[name]?.state, 'abandoned', name);
  await chain(rig);
  assert.is((await rig.run(grid)).ran['data'], undefined);
});

test('a stored file that was changed is found before it is read, and made again', async ({
  rig,
}) => {
  await chain(rig);
  const { outcomes } = await rig.run(trainings(1));
  const file = path.join(finished(outcomes['data/1']).dir, 'rows.jsonl');
  // The file keeps its size and has a time before the manifest's, so only the digest shows the
  // change.
  writeFileSync(file, 'rawz');
  utimesSync(file, new Date(0), new Date(0));
  const second = await rig.run(trainings(1, 2));
  assert.equal(second.ran, { data: 1, train: 1 });
  const damage = /data-[0-9a-f]+ was damaged \(rows\.jsonl was changed\); moved to .*, it is made/;
  assert.is(notesOf(second).filter((note) => damage.test(note)).length, 1);
  assert.is(outputOf(second.outcomes['train/2'], 'model.txt'), 'rows2none');
});

test('a damaged input that may not be made again fails, and says why', async ({ rig }) => {
  await chain(rig);
  const { outcomes } = await rig.run(trainings(1));
  const file = path.join(finished(outcomes['data/1']).dir, 'rows.jsonl');
  writeFileSync(file, 'rawz');
  utimesSync(file, new Date(0), new Date(0));
  const second = await rig.run(trainings(1, 2), { mayRun: ({ kind }) => kind === 'train' });
  assert.match(
    failed(second.outcomes['data']).error,
    'its entry in the store is damaged: rows.jsonl was changed',
  );
  assert.is(second.outcomes['train/2']?.state, 'blocked');
});

test('an input that is lost while the run goes on is made again for who reads it', async ({
  rig,
}) => {
  await chain(rig);
  const first = await rig.run(trainings(1));
  const { dir } = finished(first.outcomes['data/1']);
  let isLost = false;
  const second = await rig.run(trainings(1, 2), {
    // This is called after the survey has found the data, when the training is about to read it.
    mayRun() {
      if (!isLost) rmSync(dir, { recursive: true });
      return (isLost = true);
    },
  });
  assert.equal(second.ran, { data: 1, train: 1 });
  assert.is(outputOf(second.outcomes['train/2'], 'model.txt'), 'rows2none');
});

test('an entry that was cut short is made again, with a note', async ({ rig }) => {
  await chain(rig);
  const { outcomes } = await rig.run(grid);
  writeFileSync(path.join(finished(outcomes['train/1']).dir, 'model.txt'), '');
  const second = await rig.run(grid);
  assert.equal(second.ran, { train: 1 });
  assert.ok(notesOf(second).some((note) => note.includes('(model.txt has 0 bytes, not 9)')));
});

test('the cores in use never exceed the jobs, and a wide stage is not overtaken for ever', async ({
  rig,
}) => {
  rig.write('cores.log', '');
  await addStage(rig, 'wide', {
    resources: ({ seed }) => ({ cpu: (Number(seed) % 2) + 1 }),
    given: { log: fileOf(rig, 'cores.log') },
    async run({ fs, given, seed, put, sleep }) {
      const log = (text: string): void => fs.appendFileSync(given['log'] ?? '', `${text}\n`);
      const cpu = (seed % 2) + 1;
      log(`+${cpu}`);
      await sleep(5);
      log(`-${cpu}`);
      put('a', String(seed));
    },
  });
  const cells = [1, 2, 3, 4, 5, 6, 8].map((seed) => cell(seed));
  assert.equal((await rig.run(experiment(['wide'], cells), { jobs: 3 })).ran, { wide: 7 });
  let inUse = 0;
  for (const line of rig.read('cores.log').trim().split('\n')) {
    inUse += Number(line);
    assert.ok(inUse <= 3 && inUse >= 0, `${inUse} cores`);
  }
});

test('a plugin that `uses` names is handed to the stage, and its code is in the key', async ({
  rig,
}) => {
  await rig.plugin('attack', 'shout', '{ poison: (rows) => rows.toUpperCase() }');
  await addStage(rig, 'poison', {
    uses: [{ kind: 'attack', name: 'shout' }],
    run({ ctx, put }) {
      const attack = ctx.plugin<{ poison(rows: string): string }>('attack', 'shout');
      put('rows', attack.poison('abc'));
    },
  });
  const one = experiment(['poison'], [cell(1)]);
  assert.is(outputOf((await rig.run(one)).outcomes['poison/1'], 'rows'), 'ABC');
  await rig.plugin('attack', 'shout', '{ poison: (rows) => rows.toLowerCase() }');
  assert.equal((await rig.run(one)).ran, { poison: 1 });
});

test('stages that may not run count only if they are in the store', async ({ rig }) => {
  await chain(rig);
  await rig.run(experiment(['train', 'evaluate', 'report'], [cell(1)]));
  const { ran, outcomes } = await rig.run(
    experiment(['train', 'evaluate', 'report'], [cell(1), cell(2)]),
    { mayRun: ({ descriptor }) => descriptor.scope === 'experiment' },
  );
  assert.equal(ran, { report: 1 });
  assert.is(outcomes['train/2']?.state, 'abandoned');
});

test.run();
