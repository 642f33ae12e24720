/** Flipped bits, truncated files and leftovers in a store are found, reported and repaired. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import * as assert from 'uvu/assert';
import { randomStream } from '../../src/base/random.ts';
import { newOwner, ownerName } from '../../src/store/owner.ts';
import type { Project } from '../rig/project.ts';
import { gridSuite, planOf, settle, STAGES } from './grid.ts';

const test = gridSuite('faults/damage');

const random = randomStream(1, 'faults', 'damage');

/**
 * Flips a bit without changing the file's times, like a failing disk. Returns the byte's offset.
 */
function flip(file: string): number {
  const bytes = readFileSync(file),
    at = random.integer(bytes.length),
    { atime, mtime } = statSync(file);
  bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random.integer(8)), at);
  writeFileSync(file, bytes);
  utimesSync(file, atime, mtime);
  return at;
}

/** The first stage of a kind that has an entry, with the entry's folder and key. */
async function entryOf(
  project: Project,
  kind: string,
): Promise<{ readonly id: string; readonly dir: string; readonly key: string }> {
  for (const { id, kind: found, outputs, key } of await planOf(project))
    if (found === kind && outputs !== null && key !== null) return { id, dir: outputs, key };
  throw new Error(`no stage of the kind ${kind} has an entry`);
}

const outputs = [
  ['grid-rows', 'rows.jsonl'],
  ['grid-train', 'model/weights.bin'],
  ['grid-train', 'model/deep/name.txt'],
  ['grid-train', 'timing.json'],
  ['grid-evaluate', 'metrics.json'],
  ['grid-evaluate', 'predictions.csv'],
  ['grid-report', 'report.html'],
] as const;

for (const [kind, file] of outputs) {
  test(`verify finds a flipped bit in ${file} of ${kind}, and a run mends it`, async ({
    project,
    expected,
  }) => {
    const { dir, key } = await entryOf(project, kind);
    flip(path.join(dir, file));
    const verified = await project.dosimeter('verify');
    assert.is(verified.code, 1);
    assert.match(verified.stdout, `damaged ${key}: ${file} was changed`);
    assert.match(
      verified.stdout,
      `${STAGES} entries checked, 1 damaged: the next run makes them anew`,
    );
    const ran = project.lines('ran.log').length;
    await settle(project, expected);
    assert.is(project.lines('ran.log').length, ran + 1);
  });
}

test('a run finds a flipped bit in an input before a stage reads it', async ({
  project,
  expected,
}) => {
  const rows = await entryOf(project, 'grid-rows'),
    train = await entryOf(project, 'grid-train');
  flip(path.join(rows.dir, 'rows.jsonl'));
  rmSync(train.dir, { recursive: true });
  const said = await settle(project, expected);
  assert.match(said, `the entry of ${rows.id} was damaged (rows.jsonl was changed); moved to `);
});

test('a run finds a flipped bit in the report, although no stage reads it', async ({
  project,
  expected,
}) => {
  const { id, dir } = await entryOf(project, 'grid-report');
  flip(path.join(dir, 'report.html'));
  assert.match(
    await settle(project, expected),
    `the entry of ${id} was damaged (report.html was changed); moved to `,
  );
});

for (const kind of ['grid-rows', 'grid-train', 'grid-evaluate', 'grid-report']) {
  test(`a flipped bit in the manifest of ${kind} is a cache miss that is reported`, async ({
    project,
    expected,
  }) => {
    const { id, dir } = await entryOf(project, kind);
    const at = flip(path.join(dir, 'manifest.json'));
    assert.match(
      await settle(project, expected),
      new RegExp(
        `the entry of ${id} was damaged \\(its manifest [^)]*\\); moved to .*, it is made again`,
      ),
      `byte ${at}`,
    );
  });
}

// make, ninja, snakemake and doit use such a file.
test('an intermediate result that was changed by hand is not used', async ({
  project,
  expected,
}) => {
  const { id, dir } = await entryOf(project, 'grid-rows'),
    train = await entryOf(project, 'grid-train');
  writeFileSync(path.join(dir, 'rows.jsonl'), '{"text":"b"}\n'.repeat(2000));
  rmSync(train.dir, { recursive: true });
  assert.match(
    await settle(project, expected),
    `the entry of ${id} was damaged (a file was changed after it was stored)`,
  );
});

// make takes a partial file for a complete one.
for (const [what, damage] of [
  ['cut short', (dir: string) => truncateSync(path.join(dir, 'model/weights.bin'), 1000)],
  ['emptied', (dir: string) => truncateSync(path.join(dir, 'model/weights.bin'), 0)],
  ['grown', (dir: string) => appendFileSync(path.join(dir, 'model/empty'), 'x')],
  ['gone', (dir: string) => rmSync(path.join(dir, 'timing.json'))],
  [
    'cut short with its manifest',
    (dir: string) => {
      truncateSync(path.join(dir, 'model/weights.bin'), 5);
      truncateSync(path.join(dir, 'manifest.json'), 40);
    },
  ],
  ['left without its manifest', (dir: string) => rmSync(path.join(dir, 'manifest.json'))],
  [
    'left as an empty folder',
    (dir: string) => {
      rmSync(dir, { recursive: true });
      mkdirSync(dir);
    },
  ],
  [
    'turned into a file',
    (dir: string) => {
      rmSync(dir, { recursive: true });
      writeFileSync(dir, '');
    },
  ],
] as const) {
  test(`an entry ${what} is a cache miss that is reported`, async ({ project, expected }) => {
    const { id, dir } = await entryOf(project, 'grid-train');
    damage(dir);
    const said = await settle(project, expected);
    assert.match(said, `the entry of ${id} was damaged (`);
    assert.match(said, '1 ran, 19 cached');
  });
}

test('what killed processes left in the store hinders no run and is swept', async ({
  project,
  expected,
}) => {
  const store = path.join(project.dir, '.dosimeter/store'),
    { key, dir } = await entryOf(project, 'grid-train');
  const dead = ownerName({ ...newOwner(), pid: 4_190_000 });
  mkdirSync(path.join(store, 'tmp', `${dead}.grid-train-1`), { recursive: true });
  writeFileSync(path.join(store, 'tmp', `${dead}.grid-train-1`, 'half'), 'ha');
  writeFileSync(path.join(store, 'leases', `${key}.${dead}`), 'he');
  writeFileSync(path.join(store, 'durations.json.4190000'), '{');
  writeFileSync(path.join(store, 'roots', 'ab.json.4190000'), '');
  rmSync(dir, { recursive: true });
  assert.match(
    await settle(project, expected),
    `the lease of ${key.slice(0, 10)} was left by process 4190000, which is gone; it is free again`,
  );
});

test('verify finds a flipped bit in any record, and a run writes the record again', async ({
  project,
  expected,
}) => {
  const store = path.join(project.dir, '.dosimeter/store');
  const one = (part: string): string => {
    const name = readdirSync(path.join(store, part)).find((file) => file.endsWith('.json'));
    return path.join(store, part, name ?? 'none.json');
  };
  for (const file of [
    path.join(store, 'durations.json'),
    one('roots'),
    one('code'),
    one('environments'),
  ]) {
    flip(file);
    const verified = await project.dosimeter('verify');
    assert.is(verified.code, 1, file);
    assert.match(verified.stdout, `damaged ${file}\n  moved to `);
  }
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  await settle(project, expected);
  assert.is((await project.dosimeter('verify')).code, 0);
  for (const part of ['roots', 'code', 'environments']) assert.ok(existsSync(one(part)));
});

test('a run reports a flipped bit in the estimates of durations', async ({ project, expected }) => {
  flip(path.join(project.dir, '.dosimeter/store/durations.json'));
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  assert.match(
    await settle(project, expected),
    'durations.json was damaged: how long stages take is learnt anew',
  );
});

test('status leaves out a damaged line of a journal and says so', async ({ project, expected }) => {
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  await settle(project, expected);
  const { run } = await project.json<{ run: string }>('status', '--json');
  const journal = path.join(project.dir, '.dosimeter/runs', run, 'journal.jsonl');
  const lines = readFileSync(journal, 'utf8').split('\n'),
    at = lines.findIndex((line) => line.includes('"stage-ended"'));
  lines[at] = lines[at]?.replace('"seconds":', '"sekonds":') ?? '';
  writeFileSync(journal, lines.join('\n'));
  const { code, stdout, stderr } = await project.dosimeter('status', run);
  assert.is(code, 0, stderr);
  assert.match(stdout, `${run} done`);
  assert.match(stderr, '1 line of its journal is damaged and left out');
  // Cut in the middle of a line, as when a process is killed.
  truncateSync(journal, statSync(journal).size - 10);
  assert.is((await project.json<{ state: string }>('status', '--json')).state, 'killed');
});

test("the damaged copy of a spec's own plugin is never run", async ({ project, expected }) => {
  const dir = path.join(project.dir, '.cache/plugins');
  for (const name of readdirSync(dir))
    writeFileSync(path.join(dir, name), 'throw new Error("torn");');
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  await settle(project, expected);
});

test('a run replaces a damaged copy of the published report', async ({ project, expected }) => {
  const copy = path.join(project.dir, '.dosimeter/reports/grid.html'),
    whole = readFileSync(copy);
  flip(copy);
  await settle(project, expected);
  assert.equal(readFileSync(copy), whole);
});

test.run();
