/** One byte of each kind of stored file flipped, files cut short, leftovers: found, said aloud, and made whole by the next run. */
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
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { randomStream } from '../../src/random/random.ts';
import { newOwner, ownerName } from '../../src/store/owner.ts';
import type { Project } from '../rig/project.ts';
import { contentsOf, createGrid, planOf, settle, STAGES } from './grid.ts';

const test = suite<{ project: Project; expected: { readonly [file: string]: string } }>(
  'faults/damage',
);
test.before(async (context) => {
  context.project = createGrid();
  const { code, stderr } = await context.project.dosimeter('run', 'spec.yaml');
  assert.is(code, 0, stderr);
  context.expected = contentsOf(context.project);
});
test.after(({ project }) => project.clean());

const random = randomStream(1, 'faults', 'damage');

/** As a failing disk does: no time changes. @returns the byte's place */
function flip(file: string): number {
  const bytes = readFileSync(file),
    at = random.integer(bytes.length),
    { atime, mtime } = statSync(file);
  bytes[at] = bytes[at]! ^ (1 << random.integer(8));
  writeFileSync(file, bytes);
  utimesSync(file, atime, mtime);
  return at;
}

/** The folder of the first entry of a kind, and its stage. */
async function entryOf(
  project: Project,
  kind: string,
): Promise<{ readonly id: string; readonly dir: string; readonly key: string }> {
  const { id, outputs, key } = (await planOf(project)).find(
    (stage) => stage.kind === kind && stage.outputs !== null,
  )!;
  return { id, dir: outputs!, key: key! };
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
  test(`a bit flipped in ${file} of ${kind}: verify finds it, the next run makes it anew`, async ({
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

test('a bit flipped in what a stage will read: the run finds it before it reads', async ({
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

test('a bit flipped in the report, which no stage reads: the run that would hand it out finds it', async ({
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
  test(`a bit flipped in the manifest of ${kind}: a miss that is said aloud`, async ({
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

// make, ninja, snakemake and doit build on such a file.
test('an intermediate written over by hand is no base to build on', async ({
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

// make takes a partial file for whole.
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
  test(`an entry ${what} is a miss that is said aloud`, async ({ project, expected }) => {
    const { id, dir } = await entryOf(project, 'grid-train');
    damage(dir);
    const said = await settle(project, expected);
    assert.match(said, `the entry of ${id} was damaged (`);
    assert.match(said, '1 ran, 19 cached');
  });
}

test('what killed processes left in the store is no hindrance, and swept', async ({
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

test('a flipped bit in the records beside the entries: verify finds it, and a run writes them again', async ({
  project,
  expected,
}) => {
  const store = path.join(project.dir, '.dosimeter/store');
  const one = (part: string): string =>
    path.join(
      store,
      part,
      readdirSync(path.join(store, part)).find((name) => name.endsWith('.json'))!,
    );
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

test('a flipped bit in the estimates is said aloud by the run that reads them', async ({
  project,
  expected,
}) => {
  flip(path.join(project.dir, '.dosimeter/store/durations.json'));
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  assert.match(
    await settle(project, expected),
    'durations.json was damaged: how long stages take is learnt anew',
  );
});

test('a flipped bit in a journal: the line is left out, and status says so', async ({
  project,
  expected,
}) => {
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  await settle(project, expected);
  const { run } = await project.json<{ run: string }>('status', '--json');
  const journal = path.join(project.dir, '.dosimeter/runs', run, 'journal.jsonl');
  const lines = readFileSync(journal, 'utf8').split('\n'),
    at = lines.findIndex((line) => line.includes('"stage-ended"'));
  lines[at] = lines[at]!.replace('"seconds":', '"sekonds":');
  writeFileSync(journal, lines.join('\n'));
  const { code, stdout, stderr } = await project.dosimeter('status', run);
  assert.is(code, 0, stderr);
  assert.match(stdout, `${run} done`);
  assert.match(stderr, '1 line of its journal is damaged and left out');
  // Cut in the middle of a line, as by a kill.
  truncateSync(journal, statSync(journal).size - 10);
  assert.is((await project.json<{ state: string }>('status', '--json')).state, 'killed');
});

test("a flipped bit in the built copy of a spec's own plugin never runs", async ({
  project,
  expected,
}) => {
  const dir = path.join(project.dir, '.cache/plugins');
  for (const name of readdirSync(dir))
    writeFileSync(path.join(dir, name), 'throw new Error("torn");');
  rmSync((await entryOf(project, 'grid-train')).dir, { recursive: true });
  await settle(project, expected);
});

test('a flipped bit in the copy of the report that a user opens is written over by the next run', async ({
  project,
  expected,
}) => {
  const copy = path.join(project.dir, '.dosimeter/reports/grid.html'),
    whole = readFileSync(copy);
  flip(copy);
  await settle(project, expected);
  assert.equal(readFileSync(copy), whole);
});

test.run();
