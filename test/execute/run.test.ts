import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Finished } from '../../src/execute/types.ts';
import { newOwner, ownerName } from '../../src/store/owner.ts';
import type { Rig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('run');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** data → train → evaluate, one report. Each run of a stage adds a line to `ran.log`, and reads what a test may change. */
async function chain(
  rig: Rig,
  bodies: {
    readonly data?: string;
    readonly train?: string;
    readonly evaluate?: string;
    readonly report?: string;
  } = {},
): Promise<void> {
  const note = `appendFileSync(${JSON.stringify(path.join(rig.dir, 'ran.log'))}, ctx.outDir.split('.').at(-1) + '\\n');`;
  const stage = (define: string, body: string, more = ''): string => `{
    compute: false, scope: 'cell', ${more}
    define: ${define},
    run: async (ctx) => {
      const { appendFileSync, readFileSync, writeFileSync } = await import('node:fs');
      const put = (name, text) => writeFileSync(ctx.outDir + '/' + name, text);
      const get = (input, name) => readFileSync(ctx.inputs[input].dir + '/' + name, 'utf8');
      ${note}
      ${body}
    },
  }`;
  await rig.plugin(
    'stage',
    'data',
    stage('() => ({ params: {}, inputs: {} })', bodies.data ?? 'put("rows.jsonl", "rows");'),
  );
  await rig.plugin(
    'stage',
    'train',
    stage(
      '([cell]) => ({ params: { seed: cell.seed, poisoning: cell.poisoning }, inputs: { data: { kind: "data", cell } } })',
      bodies.train ??
        'put("model.txt", get("data", "rows.jsonl") + ctx.params.seed + ctx.params.poisoning.attack);',
      'volatile: ["metrics.json"],',
    ),
  );
  await rig.plugin(
    'stage',
    'evaluate',
    stage(
      '([cell]) => ({ params: {}, inputs: { train: { kind: "train", cell } } })',
      bodies.evaluate ??
        'put("metrics.json", JSON.stringify({ length: get("train", "model.txt").length }));',
    ),
  );
  await rig.plugin(
    'stage',
    'report',
    `{
    compute: false, scope: 'experiment', tolerant: true,
    define: (cells) => ({ params: {}, inputs: Object.fromEntries(cells.map((cell, i) => ['evaluate-' + i, { kind: 'evaluate', cell }])) }),
    run: async (ctx) => {
      const { writeFileSync } = await import('node:fs');
      ${bodies.report ?? ''}
      writeFileSync(ctx.outDir + '/report.html', JSON.stringify({ inputs: Object.keys(ctx.inputs), facts: ctx.experiment }));
    },
  }`,
  );
}

const grid = experiment(['train', 'evaluate', 'report'], [cell(1), cell(2), cell(3)]);

test('runs each distinct stage once and nothing the second time', async ({ rig }) => {
  await chain(rig);
  const first = await rig.run(grid);
  assert.equal(first.ran, { data: 1, train: 3, evaluate: 3, report: 1 });
  assert.is(
    readFileSync(path.join((first.outcomes['train/2'] as Finished).dir, 'model.txt'), 'utf8'),
    'rows2none',
  );
  const second = await rig.run(grid);
  assert.equal(second.ran, {});
  assert.is(rig.read('ran.log').trim().split('\n').length, 7);
});

test('a wider grid runs only what is new', async ({ rig }) => {
  await chain(rig);
  await rig.run(grid);
  const { ran } = await rig.run(
    experiment(['train', 'evaluate', 'report'], [cell(4), cell(1), cell(2), cell(3)]),
  );
  assert.equal(ran, { train: 1, evaluate: 1, report: 1 });
});

test('an edited plugin runs anew, and identical content cuts off what follows', async ({ rig }) => {
  await chain(rig);
  await rig.run(grid);
  await chain(rig, { data: 'put("rows.jsonl", "ro" + "ws");' });
  assert.equal((await rig.run(grid)).ran, { data: 1 });
  await chain(rig, { data: 'put("rows.jsonl", "other");' });
  assert.equal((await rig.run(grid)).ran, { data: 1, train: 3, evaluate: 3, report: 1 });
});

test('volatile files are stored but do not reach the keys of what follows', async ({ rig }) => {
  const train = (time: string): string =>
    `put("model.txt", "m" + ctx.params.seed); put("metrics.json", '{"seconds": ${time}}');`;
  await chain(rig, { train: train('1') });
  await rig.run(grid);
  await chain(rig, { train: train('2') });
  const { ran, outcomes } = await rig.run(grid);
  assert.equal(ran, { train: 3 });
  assert.is(
    readFileSync(path.join((outcomes['train/1'] as Finished).dir, 'metrics.json'), 'utf8'),
    '{"seconds": 2}',
  );
});

test('one failure blocks what needs it; the rest goes on, and the report says what is missing', async ({
  rig,
}) => {
  await chain(rig, {
    train: `if (ctx.params.seed === 2) throw Object.assign(new Error('loss is NaN at step 7'), { name: 'UserFault', hint: 'lower the rate' }); put("model.txt", "m");`,
  });
  const { outcomes, ran } = await rig.run(grid);
  assert.equal(ran, { data: 1, train: 2, evaluate: 1, report: 1 }); // seeds 1 and 3 came to the same model: one evaluation
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
  assert.is(outcomes['evaluate/2']!.state, 'blocked');
  const report = JSON.parse(
    readFileSync(path.join((outcomes['report'] as Finished).dir, 'report.html'), 'utf8'),
  ) as {
    inputs: string[];
    facts: { stages: { kind: string; seed: number; state: string; error?: string }[] };
  };
  assert.equal(report.inputs, ['evaluate-0', 'evaluate-2']);
  assert.equal(
    report.facts.stages
      .filter(({ state }) => state === 'failed' || state === 'blocked')
      .map(({ kind, seed, error }) => [kind, seed, error]),
    [
      ['train', 2, 'loss is NaN at step 7'],
      [
        'evaluate',
        2,
        `needs ${report.facts.stages.find(({ state }) => state === 'failed')!.kind}-${(outcomes['evaluate/2'] as { by: string }).by.split('-')[1]}, which failed: loss is NaN at step 7`,
      ],
    ],
  );
  // Mended: the report is made again, now of everything.
  await chain(rig);
  assert.equal((await rig.run(grid)).ran['report'], 1);
});

test('an internal error keeps its stack for the log', async ({ rig }) => {
  await chain(rig, { train: 'null.x;' });
  const { outcomes } = await rig.run(experiment(['train'], [cell(1)]));
  const failed = outcomes['train/1'] as {
    state: string;
    error: string;
    internal: boolean;
    log: string;
  };
  assert.match(failed.error, /^internal error: Cannot read properties of null/);
  assert.not.match(failed.error, /at /);
  assert.match(
    readFileSync(failed.log, 'utf8'),
    /TypeError.*\n(.*\n)*.*stage-train-[0-9a-f]+\.mjs:\d+/,
  );
});

for (const [what, body, error] of [
  ['exits without a word', 'process.exit(0);', /went without a word \(exit code 0\)/],
  [
    'is killed',
    'process.kill(process.pid, "SIGKILL"); await new Promise(() => {});',
    /went without a word \(ended by SIGKILL\)/,
  ],
  ['writes nothing', '', /internal error: the stage "train" wrote no file/],
  [
    'returns something',
    'put("a", "b"); return { loss: 1 };',
    /internal error: the stage "train" returned object/,
  ],
  ['throws no Error', 'throw "words";', /it threw words, which is no Error/],
  [
    'throws in a callback',
    'setTimeout(() => { throw new Error("late"); }, 1); await new Promise(() => {});',
    /internal error: late/,
  ],
  [
    'forgets a rejected promise',
    'Promise.reject(new Error("forgotten")); await new Promise(() => {});',
    /internal error: forgotten/,
  ],
  ["writes the store's own file", 'put("manifest.json", "{}");', /wrote manifest\.json/],
  [
    'writes a link',
    'const { symlinkSync } = await import("node:fs"); symlinkSync("/etc/passwd", ctx.outDir + "/link");',
    /neither a file nor a folder/,
  ],
] as const) {
  test(`a stage that ${what} fails alone`, async ({ rig }) => {
    await chain(rig, {
      train:
        `if (ctx.params.seed === 2) { ${body} } put("model.txt", "m" + ctx.params.seed);`.replace(
          '} put',
          '} else put',
        ),
    });
    const { outcomes } = await rig.run(experiment(['train'], [cell(1), cell(2), cell(3)]));
    assert.match((outcomes['train/2'] as { error: string }).error, error);
    assert.is(outcomes['train/1']!.state, 'ran');
    assert.is(outcomes['train/3']!.state, 'ran');
  });
}

test('a stage that prints without end is cut short in its log and finishes', async ({ rig }) => {
  await chain(rig, {
    train:
      'const line = "x".repeat(1023) + "\\n"; for (let i = 0; i < 20_000; i++) process.stdout.write(line); console.log("end"); put("model.txt", "m");',
  });
  const { outcomes, events } = await rig.run(experiment(['train'], [cell(1)]));
  assert.is(outcomes['train/1']!.state, 'ran');
  const started = events.find(
    (event) => event.type === 'stage-started' && event.stage.kind === 'train',
  ) as { log: string };
  const log = readFileSync(started.log, 'utf8');
  assert.ok(log.length < 13 * 1024 * 1024, `${log.length}`);
  assert.match(log, /beyond 10 MB is not kept/);
});

test('what a stage prints and logs is in its log', async ({ rig }) => {
  await chain(rig, {
    train:
      'console.log("to stdout"); console.error("to stderr"); ctx.log("by log"); put("model.txt", "m");',
  });
  const { events } = await rig.run(experiment(['train'], [cell(1)]));
  const log = readFileSync(
    (
      events.find((event) => event.type === 'stage-started' && event.stage.kind === 'train') as {
        log: string;
      }
    ).log,
    'utf8',
  );
  for (const line of ['| to stdout', '| to stderr', 'by log', 'done in'])
    assert.ok(log.includes(line), `${line} in ${log}`);
});

test('with failFast nothing starts after a failure', async ({ rig }) => {
  await chain(rig, { data: 'throw new Error("no");' });
  await rig.plugin(
    'stage',
    'other',
    '{ compute: false, scope: "cell", define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }), run: async (ctx) => { (await import("node:fs")).writeFileSync(ctx.outDir + "/a", ""); } }',
  );
  const { outcomes, ran } = await rig.run(experiment(['train', 'other'], [cell(1), cell(2)]), {
    jobs: 1,
    failFast: true,
  });
  assert.is(outcomes['data']!.state, 'failed');
  assert.equal(ran, {});
  assert.equal(
    [outcomes['other/1']!.state, outcomes['other/2']!.state],
    ['abandoned', 'abandoned'],
  );
});

test('an abort ends what runs, even what does not listen, and keeps what is finished', async ({
  rig,
}) => {
  await chain(rig, { train: 'await new Promise(() => {});' });
  const stop = new AbortController();
  const { outcomes } = await rig.run(grid, {
    signal: stop.signal,
    onEvent: (event) => {
      if (event.type === 'stage-started' && event.stage.kind === 'train') stop.abort();
    },
  });
  assert.is(outcomes['data']!.state, 'ran');
  for (const name of ['train/1', 'train/2', 'evaluate/1', 'report'])
    assert.is(outcomes[name]!.state, 'abandoned', name);
  await chain(rig);
  assert.is((await rig.run(grid)).ran['data'], undefined);
});

test('a stored file that was changed is found before it is read, and made again', async ({
  rig,
}) => {
  await chain(rig);
  const { outcomes } = await rig.run(experiment(['train'], [cell(1)]));
  const file = path.join((outcomes['data/1'] as Finished).dir, 'rows.jsonl');
  // Same size, and a time before the manifest's: only the digest tells.
  writeFileSync(file, 'rawz');
  utimesSync(file, new Date(0), new Date(0));
  const second = await rig.run(experiment(['train'], [cell(1), cell(2)]));
  assert.equal(second.ran, { data: 1, train: 1 });
  assert.ok(
    second.events.some(
      (event) =>
        event.type === 'note' &&
        /data-[0-9a-f]+ was damaged \(rows\.jsonl was changed\)/.test(event.message),
    ),
  );
  assert.is(
    readFileSync(path.join((second.outcomes['train/2'] as Finished).dir, 'model.txt'), 'utf8'),
    'rows2none',
  );
});

test('an entry cut short is a miss, said aloud, and made again', async ({ rig }) => {
  await chain(rig);
  const { outcomes } = await rig.run(grid);
  const { dir } = outcomes['train/1'] as Finished;
  writeFileSync(path.join(dir, 'model.txt'), '');
  const { ran, events } = await rig.run(grid);
  assert.equal(ran, { train: 1 });
  assert.ok(
    events.some(
      (event) =>
        event.type === 'note' && /damaged \(model\.txt has 0 bytes, not 9\)/.test(event.message),
    ),
  );
});

test('two runs at once on one store make each stage once', async ({ rig }) => {
  await chain(rig, {
    train:
      'await new Promise((resolve) => setTimeout(resolve, 30)); put("model.txt", "m" + ctx.params.seed);',
  });
  const results = await Promise.all([rig.run(grid, { jobs: 1 }), rig.run(grid, { jobs: 1 })]);
  for (const { outcomes } of results)
    for (const outcome of Object.values(outcomes))
      assert.ok(outcome.state === 'ran' || outcome.state === 'cached');
  const lines = rig.read('ran.log').trim().split('\n');
  assert.is(lines.length, new Set(lines).size);
  assert.is(lines.length, 7);
});

test('the cores in use never exceed the jobs, and a wide stage is not overtaken for ever', async ({
  rig,
}) => {
  const log = path.join(rig.dir, 'cores.log');
  writeFileSync(log, '');
  await rig.plugin(
    'stage',
    'wide',
    `{
    compute: false, scope: 'cell', resources: ({ cpu }) => ({ cpu }),
    define: ([cell]) => ({ params: { seed: cell.seed, cpu: cell.seed % 2 + 1 }, inputs: {} }),
    run: async (ctx) => {
      const { appendFileSync, writeFileSync } = await import('node:fs');
      appendFileSync(${JSON.stringify(log)}, '+' + ctx.params.cpu + '\\n');
      await new Promise((resolve) => setTimeout(resolve, 5));
      appendFileSync(${JSON.stringify(log)}, '-' + ctx.params.cpu + '\\n');
      writeFileSync(ctx.outDir + '/a', String(ctx.params.seed));
    },
  }`,
  );
  const { ran } = await rig.run(
    experiment(
      ['wide'],
      [1, 2, 3, 4, 5, 6, 8].map((seed) => cell(seed)),
    ),
    { jobs: 3 },
  );
  assert.equal(ran, { wide: 7 });
  let inUse = 0;
  for (const line of readFileSync(log, 'utf8').trim().split('\n')) {
    inUse += Number(line);
    assert.ok(inUse <= 3 && inUse >= 0, `${inUse} cores`);
  }
});

test('a plugin that `uses` names is handed to the stage', async ({ rig }) => {
  await rig.plugin('attack', 'shout', '{ poison: (rows) => rows.toUpperCase() }');
  await rig.plugin(
    'stage',
    'poison',
    `{
    compute: false, scope: 'cell',
    define: () => ({ params: {}, inputs: {}, uses: [{ kind: 'attack', name: 'shout' }] }),
    run: async (ctx) => { (await import('node:fs')).writeFileSync(ctx.outDir + '/rows', ctx.plugin('attack', 'shout').poison('abc')); },
  }`,
  );
  const one = experiment(['poison'], [cell(1)]);
  const { outcomes } = await rig.run(one);
  assert.is(readFileSync(path.join((outcomes['poison/1'] as Finished).dir, 'rows'), 'utf8'), 'ABC');
  await rig.plugin('attack', 'shout', '{ poison: (rows) => rows.toLowerCase() }');
  assert.equal((await rig.run(one)).ran, { poison: 1 });
});

test('the stages that may not run count only when they are there', async ({ rig }) => {
  await chain(rig);
  await rig.run(experiment(['train', 'evaluate', 'report'], [cell(1)]));
  const { ran, outcomes } = await rig.run(
    experiment(['train', 'evaluate', 'report'], [cell(1), cell(2)]),
    { mayRun: ({ descriptor }) => descriptor.scope === 'experiment' },
  );
  assert.equal(ran, { report: 1 });
  assert.is(outcomes['train/2']!.state, 'abandoned');
});

test('a run that lost its lease while it was stopped publishes nothing: it says so and waits for who has it', async ({
  rig,
}) => {
  const leases = path.join(rig.storeDir, 'leases'),
    far = ownerName({ ...newOwner(), host: '0123456789ab' });
  // What another host does when it has heard nothing for a while, seen from within the stage.
  await chain(rig, {
    train: `
      const { existsSync, readdirSync, rmSync } = await import('node:fs');
      const first = !existsSync(${JSON.stringify(path.join(rig.dir, 'lost'))});
      put("model.txt", first ? "first" : "second");
      if (!first) return;
      writeFileSync(${JSON.stringify(path.join(rig.dir, 'lost'))}, '');
      const leases = ${JSON.stringify(leases)};
      for (const name of readdirSync(leases).filter((one) => /^[0-9a-f]{64}\\./.test(one))) {
        rmSync(leases + '/' + name);
        writeFileSync(leases + '/' + name.split('.')[0] + '.${far}', 'held\\n');
      }`,
  });
  const notes: string[] = [];
  const { outcomes } = await rig.run(experiment(['train'], [cell(1)]), {
    onEvent(event) {
      if (event.type !== 'note') return;
      notes.push(event.message);
      // The other run goes away without an entry as soon as this one waits for it.
      if (event.message.includes('waiting'))
        for (const name of readdirSync(leases))
          if (name.endsWith(far)) rmSync(path.join(leases, name));
    },
  });
  assert.match(notes[0]!, /another run took its lease over .* is discarded/);
  assert.match(notes[1]!, /another run is making it; waiting/);
  const { state, dir } = outcomes['train/1'] as Finished;
  assert.is(state, 'ran');
  assert.is(readFileSync(path.join(dir, 'model.txt'), 'utf8'), 'second');
  assert.equal(readdirSync(path.join(rig.storeDir, 'tmp')), []);
});

test.run();
