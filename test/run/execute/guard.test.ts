/**
 * What a stage reads is changed while it runs, by the stage itself or by someone else. Nothing is
 * then stored under the key of the unchanged content.
 */
import { createHash } from 'node:crypto';
import fs, {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Asset, Digest } from '../../../src/api.ts';
import type { ActionKey } from '../../../src/plan/types.ts';
import { createGuard, type Locate } from '../../../src/run/execute/guard.ts';
import type { Entry } from '../../../src/store/manifest.ts';
import { digestFiles } from '../../rig/digest-files.ts';
import { cell, createRig, experiment, type Rig } from '../../rig/rig.ts';
import { addStage, type Body, failed, finished, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('guard');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

/** A file that was written long ago. */
function writeOld(file: string, text: string): void {
  writeFileSync(file, text);
  utimesSync(file, 1e9, 1e9);
}

// ---- inputs ------------------------------------------------------------------------------------

/** Adds data → spoiler, and a report that reads both and so runs after the spoiler. */
async function addSpoiler(rig: Rig, run: Body): Promise<void> {
  await addStage(rig, 'data', {
    params: [],
    run({ ctx, fs, put }) {
      put('rows.txt', 'right');
      put('more.txt', 'more');
      fs.utimesSync(`${ctx.outDir}/rows.txt`, 1e9, 1e9);
    },
  });
  await addStage(rig, 'spoiler', { params: [], inputs: { data: 'data' }, run });
  await addStage(rig, 'report', {
    joins: true,
    inputs: { data: 'data', spoiler: 'spoiler' },
    run({ ctx, fs, get, put }) {
      const files = fs.readdirSync(ctx.inputs['data-0']?.dir ?? '').length;
      put('report.html', `${get('data-0', 'rows.txt')} ${files}`);
    },
  });
}

const spoiled = experiment(['spoiler', 'report'], [cell(1)]);

/** Writes other bytes of the same size, and restores the time. */
const overwrite: Body = ({ ctx, fs, put }) => {
  const file = `${ctx.inputs['data']?.dir ?? ''}/rows.txt`;
  const { atime, mtime } = fs.statSync(file);
  fs.writeFileSync(file, 'worse');
  fs.utimesSync(file, atime, mtime);
  put('out.txt', 'done');
};

const spoilers: readonly (readonly [what: string, run: Body, told: string])[] = [
  ['writes over its input', overwrite, 'rows.txt was changed'],
  [
    'writes over its input with another size',
    ({ ctx, fs, put }) => {
      fs.writeFileSync(`${ctx.inputs['data']?.dir ?? ''}/rows.txt`, 'much worse');
      put('out.txt', 'done');
    },
    'rows.txt was written to',
  ],
  [
    'removes a file of its input',
    ({ ctx, fs, put }) => {
      fs.rmSync(`${ctx.inputs['data']?.dir ?? ''}/more.txt`);
      put('out.txt', 'done');
    },
    'more.txt is missing',
  ],
  [
    'adds a file to its input',
    ({ ctx, fs, put }) => {
      fs.writeFileSync(`${ctx.inputs['data']?.dir ?? ''}/also.txt`, 'x');
      put('out.txt', 'done');
    },
    'also.txt was added',
  ],
];

for (const [what, run, told] of spoilers)
  test(`a stage that ${what} fails, and the next reader finds what was stored`, async ({ rig }) => {
    await addSpoiler(rig, run);
    const { outcomes, ran } = await rig.run(spoiled);
    const { error, hint, internal } = failed(outcomes['spoiler/1']);
    assert.equal(
      [error, internal],
      [`its input "data" was changed after it was stored (${told})`, false],
    );
    assert.match(hint ?? '', 'copy what you want to change');
    assert.is(outputOf(outcomes['report/1'], 'report.html'), 'right 3');
    assert.equal(ran, { data: 2, report: 1 }, 'data is made again for the report');
  });

/** Lets the files that were written get older than a step of the file system's clock. */
const tick = (): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, 60);
  });

/** Makes `data` in a run of its own, and returns the folder of its entry. */
async function dataOfEarlierRun(rig: Rig): Promise<string> {
  const { outcomes } = await rig.run(experiment(['data'], [cell(1)]));
  await tick();
  return finished(Object.values(outcomes)[0]).dir;
}

const restore: Body = async ({ ctx, fs, put, sleep }) => {
  await sleep(50);
  for (const text of ['worse', 'right'])
    fs.writeFileSync(`${ctx.inputs['data']?.dir ?? ''}/rows.txt`, text);
  put('out.txt', 'done');
};

for (const [what, run, told] of spoilers)
  test(`a stage that ${what} from an earlier run fails as well`, async ({ rig }) => {
    await addSpoiler(rig, run);
    await dataOfEarlierRun(rig);
    const { outcomes, ran } = await rig.run(spoiled);
    assert.is(
      failed(outcomes['spoiler/1']).error,
      `its input "data" was changed after it was stored (${told})`,
    );
    assert.is(outputOf(outcomes['report/1'], 'report.html'), 'right 3');
    assert.equal(ran, { data: 1, report: 1 }, 'data is made again for the report');
  });

for (const earlier of [false, true]) {
  const whose = earlier ? ' of an earlier run' : '';
  test(`a stage that restores an input fails too: nobody knows what it read${whose}`, async ({
    rig,
  }) => {
    await addSpoiler(rig, restore);
    if (earlier) await dataOfEarlierRun(rig);
    const { outcomes } = await rig.run(spoiled);
    assert.match(failed(outcomes['spoiler/1']).error, 'rows.txt was written to');
    assert.is(outputOf(outcomes['report/1'], 'report.html'), 'right 3');
  });
}

test("a file in place of an input's folder is damage like any other", async ({ rig }) => {
  await addStage(rig, 'data', {
    params: [],
    run({ ctx, fs, put }) {
      fs.mkdirSync(`${ctx.outDir}/rows`);
      put('rows/all.txt', 'right');
    },
  });
  await addStage(rig, 'reader', {
    inputs: { data: 'data' },
    run({ ctx, fs, get, put, seed }) {
      put('out.txt', get('data', 'rows/all.txt'));
      if (seed === 1) return;
      const folder = `${ctx.inputs['data']?.dir ?? ''}/rows`;
      fs.rmSync(folder, { recursive: true });
      fs.writeFileSync(folder, '');
    },
  });
  const folder = path.join(await dataOfEarlierRun(rig), 'rows');
  rmSync(folder, { recursive: true });
  writeFileSync(folder, '');
  await tick();
  const first = await rig.run(experiment(['reader'], [cell(1)]));
  assert.is(outputOf(first.outcomes['reader/1'], 'out.txt'), 'right');
  await tick();
  const second = await rig.run(experiment(['reader'], [cell(2)]));
  assert.is(
    failed(second.outcomes['reader/2']).error,
    'its input "data" was changed after it was stored (rows/all.txt is missing)',
  );
});

test('a stage may change the mode of its inputs, and hidden files do not count', async ({
  rig,
}) => {
  await addSpoiler(rig, ({ ctx, fs, put }) => {
    const dir = ctx.inputs['data']?.dir ?? '';
    fs.chmodSync(`${dir}/rows.txt`, 0o444);
    fs.writeFileSync(`${dir}/.DS_Store`, '');
    put('out.txt', 'done');
  });
  assert.is((await rig.run(spoiled)).outcomes['spoiler/1']?.state, 'ran');
});

/** Has `data` made again by this run while another run, which is faster, publishes it. */
async function publishByAnother(rig: Rig): Promise<void> {
  const kept = path.join(rig.dir, 'kept'),
    place = path.join(rig.dir, 'place');
  // On its second run the stage does what the other run does.
  await addStage(rig, 'data', {
    params: [],
    given: { kept, place },
    run({ fs, given: { kept = '', place = '' }, put }) {
      put('rows.txt', 'right');
      if (fs.existsSync(kept)) fs.renameSync(kept, fs.readFileSync(place, 'utf8'));
    },
  });
  const { outcomes } = await rig.run(experiment(['data'], [cell(1)]));
  const [first] = Object.values(outcomes);
  assert.ok(first?.state === 'ran');
  writeFileSync(place, first.dir);
  renameSync(first.dir, kept);
}

test('a stage reads what another run has published first, not what this run has hashed', async ({
  rig,
}) => {
  await addStage(rig, 'reader', {
    params: [],
    inputs: { data: 'data' },
    run: ({ get, put }) => put('out.txt', get('data', 'rows.txt')),
  });
  await publishByAnother(rig);
  const again = await rig.run(experiment(['reader'], [cell(1)]));
  assert.equal(again.ran, { data: 1, reader: 1 });
  assert.not(existsSync(path.join(rig.dir, 'kept')));
  const reader = Object.entries(again.outcomes).find(([id]) => id.startsWith('reader'))?.[1];
  assert.is(outputOf(reader, 'out.txt'), 'right');
});

test('a stage that restores what another run has published fails too', async ({ rig }) => {
  await addStage(rig, 'reader', { inputs: { data: 'data' }, run: restore });
  await publishByAnother(rig);
  const { outcomes } = await rig.run(experiment(['reader'], [cell(1)]));
  assert.match(failed(outcomes['reader/1']).error, 'rows.txt was written to');
});

/** An entry whose single file has just been written and hashed. Only its ctime is young. */
async function youngEntry(rig: Rig): Promise<Entry & { readonly file: string }> {
  const dir = path.join(rig.dir, 'entry');
  mkdirSync(dir);
  const file = path.join(dir, 'rows.txt');
  writeOld(file, 'right');
  const files = await digestFiles(dir);
  const created = new Date().toISOString();
  const manifest = { files, created, content: 'sha256:' as Digest, seconds: 0, backend: null };
  return { key: 'k' as ActionKey, dir, manifest, file };
}

/** Writes other bytes of the same size. */
function spoil(file: string, restoresTime: boolean): void {
  const { atime, mtime } = statSync(file);
  writeFileSync(file, 'worse');
  if (restoresTime) utimesSync(file, atime, mtime);
}

for (const restoresTime of [false, true]) {
  const how = restoresTime ? 'even if it restores the time' : 'by its time';
  test(`a write before the first reader is seen, ${how}`, async ({ rig }) => {
    const entry = await youngEntry(rig);
    await tick();
    spoil(entry.file, restoresTime);
    assert.is(await createGuard().entryFault(entry), 'rows.txt was changed');
  });
}

test('a file that was young before it was read is hashed again after it', async ({ rig }) => {
  const entry = await youngEntry(rig);
  const guard = createGuard();
  assert.is(await guard.entryFault(entry), null);
  const reads = guard.reads([{ name: 'data', entry }], []);
  spoil(entry.file, true);
  assert.match(JSON.stringify(await reads.fault()), 'rows.txt was changed');
});

test('a file system may number a file otherwise once it is opened', async ({ rig }) => {
  const entry = await youngEntry(rig);
  await tick();
  const guard = createGuard();
  assert.is(await guard.entryFault(entry), null);
  const reads = guard.reads([{ name: 'data', entry }], []);
  const patched = fs as { lstatSync: unknown },
    { lstatSync } = fs;
  patched.lstatSync = (file: string) => {
    const stat = lstatSync(file);
    return Object.assign(stat, { ino: stat.ino + 1 });
  };
  syncBuiltinESMExports();
  try {
    assert.is(await reads.fault(), null);
    writeFileSync(entry.file, 'worse');
    assert.match(JSON.stringify(await reads.fault()), 'rows.txt was written to');
  } finally {
    patched.lstatSync = lstatSync;
    syncBuiltinESMExports();
  }
});

// ---- sources -----------------------------------------------------------------------------------

function digestOf(file: string): Digest {
  const content = statSync(file).isDirectory()
    ? readdirSync(file)
        .map((name) => `${name} ${readFileSync(path.join(file, name), 'utf8')}\n`)
        .join('')
    : readFileSync(file);
  return `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest;
}

/** Locates a file as the source plugin `file` does. */
const locate: Locate = (uri) => {
  const file = uri.slice('file:'.length);
  return Promise.resolve(
    existsSync(file) ? { uri, path: file, digest: digestOf(file), provenance: {} } : null,
  );
};

/** Adds a stage that reads the source, and returns what runs it for the given seeds. */
async function addReader(
  rig: Rig,
  source: string,
  run: Body,
): Promise<(...seeds: readonly number[]) => ReturnType<Rig['run']>> {
  const uri = `file:${source}`;
  await addStage(rig, 'read', {
    assets: { source: uri },
    given: { source, killed: path.join(rig.dir, 'killed') },
    run,
  });
  return async (...seeds) => {
    const asset = await locate(uri);
    return rig.run(
      experiment(
        ['read'],
        seeds.map((seed) => cell(seed)),
      ),
      { jobs: 1, locate, assets: new Map<string, Asset>(asset ? [[uri, asset]] : []) },
    );
  };
}

const entriesOf = (rig: Rig): readonly string[] =>
  readdirSync(rig.storeDir).filter((name) => /^[0-9a-f]{2}$/.test(name));

const edits: readonly (readonly [when: string, run: Body])[] = [
  [
    'before it reads it',
    ({ fs, given, put }) => {
      fs.writeFileSync(given['source'] ?? '', 'worse');
      put('out.txt', fs.readFileSync(given['source'] ?? '', 'utf8'));
    },
  ],
  [
    'after it has read it',
    ({ fs, given, put }) => {
      put('out.txt', fs.readFileSync(given['source'] ?? '', 'utf8'));
      fs.writeFileSync(given['source'] ?? '', 'worse');
    },
  ],
  [
    'before it reads it, and its time restored',
    ({ fs, given, put }) => {
      const { source = '' } = given;
      const { atime, mtime } = fs.statSync(source);
      fs.writeFileSync(source, 'worse');
      fs.utimesSync(source, atime, mtime);
      put('out.txt', fs.readFileSync(source, 'utf8'));
    },
  ],
];

for (const [when, body] of edits)
  test(`a stage whose source is edited ${when} fails, and stores nothing`, async ({ rig }) => {
    const source = path.join(rig.dir, 'rows.tsv');
    writeOld(source, 'right');
    const run = await addReader(rig, source, body);
    assert.match(
      failed((await run(1)).outcomes['read/1']).error,
      new RegExp(`^a source was changed while it ran: file:${source} (was written to|is not what)`),
    );
    assert.equal(entriesOf(rig), []);
  });

const folderEdits: readonly (readonly [run: Body, told: string])[] = [
  [
    ({ fs, given, put }) => {
      fs.writeFileSync(`${given['source'] ?? ''}/weights`, 'worse');
      put('out.txt', '');
    },
    'weights of file:.* was written to',
  ],
  [
    ({ fs, given, put }) => {
      fs.writeFileSync(`${given['source'] ?? ''}/more`, 'x');
      put('out.txt', '');
    },
    'more of file:.* was added',
  ],
  [
    ({ fs, given, put }) => {
      fs.rmSync(`${given['source'] ?? ''}/weights`);
      put('out.txt', '');
    },
    'weights of file:.* is gone',
  ],
];

for (const [edit, told] of folderEdits)
  test(`a file of a source's folder is named: ${told}`, async ({ rig }) => {
    const source = path.join(rig.dir, 'checkpoint');
    mkdirSync(source);
    writeOld(path.join(source, 'weights'), 'right');
    writeOld(path.join(source, 'config'), '{}');
    const run = await addReader(rig, source, edit);
    assert.match(
      failed((await run(1)).outcomes['read/1']).error,
      new RegExp(`^a source was changed while it ran: ${told}$`),
    );
  });

test('a source that was edited before the stage began is not read at all', async ({ rig }) => {
  const source = rig.write('rows.tsv', 'right');
  const run = await addReader(rig, source, ({ fs, given, put, seed }) => {
    put('out.txt', fs.readFileSync(given['source'] ?? '', 'utf8'));
    if (seed === 1) fs.writeFileSync(given['source'] ?? '', 'worse');
  });
  const { outcomes } = await run(1, 2);
  assert.match(failed(outcomes['read/1']).error, 'a source was changed while it ran');
  const { error, internal, log } = failed(outcomes['read/2']);
  assert.equal(
    [error, internal, log],
    [`file:${source} is not what it was when the run began`, false, null],
  );
});

test('what a warm worker has kept of a source that changed under it serves no other stage', async ({
  rig,
}) => {
  const source = path.join(rig.dir, 'rows.tsv');
  writeOld(source, 'right');
  const run = await addReader(rig, source, ({ fs, given, put, seed }) => {
    const { source = '' } = given;
    const keeper = globalThis as { kept?: string };
    if (seed === 1) fs.writeFileSync(source, 'worse');
    keeper.kept ??= fs.readFileSync(source, 'utf8'); // as a worker keeps a model
    if (seed === 1) fs.writeFileSync(source, 'right');
    put('out.txt', keeper.kept);
  });
  const { outcomes } = await run(1, 2);
  assert.match(failed(outcomes['read/1']).error, 'was written to');
  assert.is(outputOf(outcomes['read/2'], 'out.txt'), 'right');
});

test('nothing resumes what a killed stage had made of a source that was edited under it', async ({
  rig,
}) => {
  const source = path.join(rig.dir, 'rows.tsv');
  writeOld(source, 'right');
  const run = await addReader(rig, source, ({ ctx, fs, given, hang, put }) => {
    const { source = '', killed = '' } = given;
    const resumeDir = ctx.resumeDir ?? '';
    fs.mkdirSync(resumeDir, { recursive: true });
    const kept = `${resumeDir}/kept`;
    const read = (): string => fs.readFileSync(source, 'utf8');
    if (fs.existsSync(kept)) {
      put('out.txt', fs.readFileSync(kept, 'utf8'));
      return;
    }
    if (read() === 'right' && !fs.existsSync(killed)) {
      fs.writeFileSync(killed, '');
      const { atime, mtime } = fs.statSync(source);
      fs.writeFileSync(source, 'worse');
      fs.utimesSync(source, atime, mtime);
      fs.writeFileSync(kept, read());
      process.kill(process.pid, 'SIGKILL');
      return hang();
    }
    put('out.txt', read());
    return undefined;
  });
  assert.match(failed((await run(1)).outcomes['read/1']).error, 'SIGKILL');
  writeOld(source, 'right');
  assert.is(outputOf((await run(1)).outcomes['read/1'], 'out.txt'), 'right');
});

test.run();
