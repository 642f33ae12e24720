/** What a stage reads is changed under it: by its own hand, or by someone else's. Nothing is stored under a key that says otherwise. */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Asset, Cell, Digest } from '../../src/api.ts';
import type { Locate } from '../../src/execute/guard.ts';
import type { Failed, Finished } from '../../src/execute/types.ts';
import type { Rig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('guard');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

const stage = (define: string, body: string, scope = 'cell'): string => `{
  compute: false, scope: '${scope}', tolerant: ${scope === 'experiment' ? 'true' : 'undefined'}, define: ${define},
  run: async (ctx) => {
    const { existsSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } = await import('node:fs');
    const put = (name, text) => writeFileSync(ctx.outDir + '/' + name, text);
    /** Another content of the same size and the same mtime. */
    const spoil = (file) => { const { atime, mtime } = statSync(file); writeFileSync(file, 'worse'); utimesSync(file, atime, mtime); };
    ${body}
  },
}`;

// ---- inputs ----------------------------------------------------------------------------------------------------------

/** data → spoiler, and a report of both, which therefore runs after the spoiler. */
async function spoiled(rig: Rig, how: string): Promise<void> {
  await rig.plugin(
    'stage',
    'data',
    stage(
      '() => ({ params: {}, inputs: {} })',
      'put("rows.txt", "right"); put("more.txt", "more"); utimesSync(ctx.outDir + "/rows.txt", 1e9, 1e9);',
    ),
  );
  await rig.plugin(
    'stage',
    'spoiler',
    stage(
      '([cell]) => ({ params: {}, inputs: { data: { kind: "data", cell } } })',
      `const dir = ctx.inputs.data.dir; ${how} put("out.txt", "done");`,
    ),
  );
  await rig.plugin(
    'stage',
    'report',
    stage(
      '(cells) => ({ params: {}, inputs: { data: { kind: "data", cell: cells[0] }, spoiler: { kind: "spoiler", cell: cells[0] } } })',
      `const { readdirSync } = await import('node:fs');
       put("report.html", readFileSync(ctx.inputs.data.dir + '/rows.txt', 'utf8') + ' ' + readdirSync(ctx.inputs.data.dir).length);`,
      'experiment',
    ),
  );
}

const report = ({ dir }: Finished): string => readFileSync(path.join(dir, 'report.html'), 'utf8');

for (const [what, how, told] of [
  ['writes over its input', `spoil(dir + '/rows.txt');`, 'rows.txt was changed'],
  [
    'writes over its input with another size',
    `writeFileSync(dir + '/rows.txt', 'much worse');`,
    'rows.txt was written to',
  ],
  [
    'removes a file of its input',
    `(await import('node:fs')).rmSync(dir + '/more.txt');`,
    'more.txt is missing',
  ],
  ['adds a file to its input', `writeFileSync(dir + '/also.txt', 'x');`, 'also.txt was added'],
] as const) {
  test(`a stage that ${what} fails, and who reads that input next finds what was stored`, async ({
    rig,
  }) => {
    await spoiled(rig, how);
    const { outcomes, ran } = await rig.run(experiment(['spoiler', 'report'], [cell(1)]));
    const { state, error, hint, internal } = outcomes['spoiler/1'] as Failed;
    assert.equal(
      [state, error, internal],
      ['failed', `its input "data" was changed after it was stored (${told})`, false],
    );
    assert.match(hint!, 'copy what you want to change');
    assert.is(report(outcomes['report/1'] as Finished), 'right 3');
    assert.equal(ran, { data: 2, report: 1 }); // data was made anew for the report
  });
}

test('a stage that writes into an input from an earlier run fails as well', async ({ rig }) => {
  await spoiled(rig, `spoil(dir + '/rows.txt');`);
  await rig.run(experiment(['data'], [cell(1)]));
  const { outcomes } = await rig.run(experiment(['spoiler', 'report'], [cell(1)]));
  assert.match((outcomes['spoiler/1'] as Failed).error, 'rows.txt was changed');
  assert.is(report(outcomes['report/1'] as Finished), 'right 3');
});

test('a stage that restores what it wrote over fails too: what it read is not known', async ({
  rig,
}) => {
  await spoiled(
    rig,
    'await new Promise((go) => setTimeout(go, 50)); for (const text of ["worse", "right"]) writeFileSync(dir + "/rows.txt", text);',
  );
  const { outcomes } = await rig.run(experiment(['spoiler', 'report'], [cell(1)]));
  assert.match((outcomes['spoiler/1'] as Failed).error, 'rows.txt was written to');
  assert.is(report(outcomes['report/1'] as Finished), 'right 3');
});

test('a stage may touch the mode of its inputs, and hidden files are of no account', async ({
  rig,
}) => {
  await spoiled(
    rig,
    `(await import('node:fs')).chmodSync(dir + '/rows.txt', 0o444); writeFileSync(dir + '/.DS_Store', '');`,
  );
  const { outcomes } = await rig.run(experiment(['spoiler', 'report'], [cell(1)]));
  assert.is(outcomes['spoiler/1']!.state, 'ran');
});

// ---- sources -----------------------------------------------------------------------------------------------------------

const digestOf = (file: string): Digest =>
  `sha256:${createHash('sha256')
    .update(
      statSync(file).isDirectory()
        ? readdirSync(file)
            .map((name) => `${name} ${readFileSync(path.join(file, name), 'utf8')}\n`)
            .join('')
        : readFileSync(file),
    )
    .digest('hex')}` as Digest;

/** As the source plugin `file` does. */
const locate: Locate = async (uri) => {
  const file = uri.slice('file:'.length);
  return existsSync(file) ? { uri, path: file, digest: digestOf(file), provenance: {} } : null;
};

/** A stage for each seed that reads the source, and a spec that has it. */
async function reading(
  rig: Rig,
  source: string,
  body: string,
): Promise<(...seeds: readonly number[]) => ReturnType<Rig['run']>> {
  await rig.plugin(
    'stage',
    'read',
    stage(
      `([cell]) => ({ params: { seed: cell.seed }, inputs: {}, assets: { source: ${JSON.stringify(`file:${source}`)} } })`,
      `const source = ctx.assets.source.path; ${body}`,
    ),
  );
  return async (...seeds) => {
    const asset = (await locate(`file:${source}`))!;
    return rig.run(
      experiment(
        ['read'],
        seeds.map((seed): Cell => cell(seed)),
      ),
      { jobs: 1, locate, assets: new Map<string, Asset>([[asset.uri, asset]]) },
    );
  };
}

const OUT = `put('out.txt', readFileSync(source, 'utf8'));`;

for (const [when, body] of [
  ['before it reads it', `writeFileSync(source, 'worse'); ${OUT}`],
  ['after it has read it', `${OUT} writeFileSync(source, 'worse');`],
  ['before it reads it, its time restored', `spoil(source); ${OUT}`],
] as const) {
  test(`a source that is edited while a stage runs, ${when}: it fails, and stores nothing`, async ({
    rig,
  }) => {
    const source = rig.write('rows.tsv', 'right');
    utimesSync(source, 1e9, 1e9); // written long ago
    const run = await reading(rig, source, body);
    const first = await run(1);
    assert.match(
      (first.outcomes['read/1'] as Failed).error,
      new RegExp(`^a source was changed while it ran: file:${source} (was written to|is not what)`),
    );
    assert.equal(
      readdirSync(rig.storeDir).filter((name) => /^[0-9a-f]{2}$/.test(name)),
      [],
    );
  });
}

test('a folder: a file of it that is changed or added is named', async ({ rig }) => {
  const source = path.join(rig.dir, 'checkpoint');
  for (const [change, told] of [
    [`writeFileSync(source + '/weights', 'worse');`, 'weights of file:.* was written to'],
    [`writeFileSync(source + '/more', 'x');`, 'more of file:.* was added'],
    [`(await import('node:fs')).rmSync(source + '/weights');`, 'weights of file:.* is gone'],
  ] as const) {
    mkdirSync(source, { recursive: true });
    writeFileSync(path.join(source, 'weights'), 'right');
    writeFileSync(path.join(source, 'config'), '{}');
    for (const name of readdirSync(source)) utimesSync(path.join(source, name), 1e9, 1e9);
    const run = await reading(rig, source, `${change} put('out.txt', '');`);
    assert.match(
      ((await run(1)).outcomes['read/1'] as Failed).error,
      new RegExp(`^a source was changed while it ran: ${told}$`),
    );
  }
});

test('a source that was edited before the stage began is not read at all', async ({ rig }) => {
  const source = rig.write('rows.tsv', 'right');
  const run = await reading(
    rig,
    source,
    `${OUT} if (ctx.params.seed === 1) writeFileSync(source, 'worse');`,
  );
  const { outcomes } = await run(1, 2);
  assert.match((outcomes['read/1'] as Failed).error, 'a source was changed while it ran');
  assert.equal(
    { ...outcomes['read/2'], hint: null },
    {
      state: 'failed',
      error: `file:${source} is not what it was when the run began`,
      hint: null,
      internal: false,
      log: null,
    },
  );
});

test('what a warm worker has kept of a source that changed under it serves no other stage', async ({
  rig,
}) => {
  const source = rig.write('rows.tsv', 'right');
  utimesSync(source, 1e9, 1e9);
  const run = await reading(
    rig,
    source,
    `if (ctx.params.seed === 1) writeFileSync(source, 'worse');
     globalThis.kept ??= readFileSync(source, 'utf8'); // as a model is, by its digest
     if (ctx.params.seed === 1) writeFileSync(source, 'right');
     put('out.txt', globalThis.kept);`,
  );
  const { outcomes } = await run(1, 2);
  assert.match((outcomes['read/1'] as Failed).error, 'was written to');
  assert.is(
    readFileSync(path.join((outcomes['read/2'] as Finished).dir, 'out.txt'), 'utf8'),
    'right',
  );
});

test('nothing goes on from what a killed stage had made of a source that was edited under it', async ({
  rig,
}) => {
  const source = rig.write('rows.tsv', 'right');
  utimesSync(source, 1e9, 1e9);
  const run = await reading(
    rig,
    source,
    `mkdirSync(ctx.resumeDir, { recursive: true });
     const kept = ctx.resumeDir + '/kept';
     if (existsSync(kept)) { put('out.txt', readFileSync(kept, 'utf8')); return; }
     if (readFileSync(source, 'utf8') === 'right' && !existsSync(${JSON.stringify(path.join(rig.dir, 'killed'))})) {
       writeFileSync(${JSON.stringify(path.join(rig.dir, 'killed'))}, '');
       spoil(source);
       writeFileSync(kept, readFileSync(source, 'utf8'));
       process.kill(process.pid, 'SIGKILL'); await new Promise(() => undefined);
     }
     ${OUT}`,
  );
  assert.match(((await run(1)).outcomes['read/1'] as Failed).error, 'SIGKILL');
  writeFileSync(source, 'right');
  utimesSync(source, 1e9, 1e9);
  const { dir } = (await run(1)).outcomes['read/1'] as Finished;
  assert.is(readFileSync(path.join(dir, 'out.txt'), 'utf8'), 'right');
});

test.run();
