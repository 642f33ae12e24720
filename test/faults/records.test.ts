/**
 * Whatever is found in place of a record (a folder, an empty file, a FIFO, a link to itself), every
 * command ends and says plainly what is wrong: no stack trace, no internal error, and no waiting
 * for a writer of the FIFO.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project, writeToys } from '../rig/project.ts';
import { times } from '../rig/times.ts';
import { UNPRIVILEGED } from './unprivileged.ts';

const test = suite<{ project: Project; cli: string }>('faults/records');

test.before(async (context) => {
  const project = createProject({ warm: false });
  writeToys(project, { seeds: [1], poisoning: '[{ attack: none }]' });
  for (const args of [
    ['run', 'spec.yaml'],
    ['pin', 'spec.yaml'],
  ]) {
    const { code, stderr } = await project.dosimeter(...args);
    assert.is(code, 0, stderr);
  }
  const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
  const newest = present(
    readdirSync(dist)
      .filter((name) => existsSync(path.join(dist, name, 'cli.js')))
      .sort(
        (a, b) => statSync(path.join(dist, b)).mtimeMs - statSync(path.join(dist, a)).mtimeMs,
      )[0],
  );
  context.project = project;
  context.cli = path.join(dist, newest, 'cli.js');
});

const STORE = '.dosimeter/store';
/** The first file of a folder whose name matches. */
const firstIn = (dir: string, folder: string, name = /./): string =>
  path.join(
    folder,
    present(
      readdirSync(path.join(dir, folder))
        .filter((one) => name.test(one))
        .sort()[0],
    ),
  );
const entryWith = (dir: string, file: string): string =>
  present(
    readdirSync(path.join(dir, STORE), { recursive: true })
      .map(String)
      .filter((one) => one.endsWith(`/${file}`))
      .sort()
      .map((one) => path.join(STORE, one))[0],
  );
const runFile =
  (name: string) =>
  (dir: string): string =>
    path.join(firstIn(dir, '.dosimeter/runs'), name);

/** The path of each kind of record below the project. */
const RECORDS: { readonly [name: string]: (dir: string) => string } = {
  durations: () => `${STORE}/durations.json`,
  root: (dir) => firstIn(dir, `${STORE}/roots`),
  code: (dir) => firstIn(dir, `${STORE}/code`),
  environment: (dir) => firstIn(dir, `${STORE}/environments`),
  pin: (dir) => firstIn(dir, `${STORE}/pins`),
  manifest: (dir) => entryWith(dir, 'manifest.json'),
  metrics: (dir) => entryWith(dir, 'metrics.json'),
  'the stored report': (dir) => entryWith(dir, 'report.html'),
  'the published report': () => '.dosimeter/reports/toys.html',
  journal: runFile('journal.jsonl'),
  'run log': runFile('run.log'),
  "the run's plan": runFile('plan.json'),
  'the roots folder': () => `${STORE}/roots`,
  'the pins folder': () => `${STORE}/pins`,
  'the leases folder': () => `${STORE}/leases`,
  'the scratch folder': () => `${STORE}/tmp`,
  'the runs folder': () => '.dosimeter/runs',
  'the store': () => STORE,
};

/** Puts something else in place of a record. */
const DAMAGES: { readonly [name: string]: (file: string) => void } = {
  'a folder': (file) => {
    rmSync(file, { recursive: true, force: true });
    mkdirSync(file, { recursive: true });
    writeFileSync(path.join(file, 'stray'), 'stray');
  },
  'an empty file': (file) => {
    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, '');
  },
  'a file cut short': (file) => {
    if (statSync(file).isFile()) truncateSync(file, Math.floor(statSync(file).size / 2));
    else DAMAGES['an empty file']!(file);
  },
  'JSON of another type': (file) => {
    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, '[null, 7]\n');
  },
  'a FIFO': (file) => {
    rmSync(file, { recursive: true, force: true });
    execFileSync('mkfifo', [file]);
  },
  'a link to itself': (file) => {
    rmSync(file, { recursive: true, force: true });
    symlinkSync(path.basename(file), file);
  },
  'what nobody may read': (file) => chmodSync(file, 0),
};

/** Commands that write nothing and share a copy of the project. */
const READERS = [
  ['plan', 'spec.yaml'],
  ['plan', 'spec.yaml', '--json'],
  ['explain', 'spec.yaml'],
  ['results', 'spec.yaml'],
  ['results', 'spec.yaml', '--csv'],
  ['diff', 'spec.yaml', 'spec.yaml'],
  ['status'],
  ['logs'],
  ['logs', 'toy-train'],
  ['pin'],
  ['export', 'spec.yaml', '--out', 'exported'],
  ['gc', '--dry-run'],
];
/** Commands that write, each of which gets a copy of its own. */
const WRITERS = [
  ['run', 'spec.yaml', '--set', 'seeds=[7]'],
  ['verify'],
  ['gc', '--runs'],
  ...times(
    [],
    [
      ['run', 'spec.yaml'],
      ['report', 'spec.yaml'],
      ['gc'],
      ['pin', 'spec.yaml'],
      ['unpin', 'toys'],
    ],
  ),
];

interface Said {
  readonly args: readonly string[];
  readonly code: number;
  readonly said: string;
  readonly thrown: string;
}

/** A command that takes longer than this is waiting for something. */
const HANGS_MS = 120_000;

async function runAll(
  cli: string,
  project: Project,
  commands: readonly { readonly dir: string; readonly args: readonly string[] }[],
): Promise<readonly Said[]> {
  const log = path.join(project.dir, 'said.jsonl');
  writeFileSync(log, '');
  const [program, ...args] = [
    ...UNPRIVILEGED,
    process.execPath,
    fileURLToPath(new URL('./commands.mjs', import.meta.url)),
    cli,
    log,
  ];
  const child = spawn(program, args, {
    env: { ...process.env, NO_COLOR: '1', DOSIMETER_CACHE: path.join(project.dir, '.cache') },
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  child.stdin.end(JSON.stringify(commands));
  const ended = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      resolve(false);
    }, HANGS_MS);
    child.on('close', () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
  const lines = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Said & { readonly begins?: readonly string[] });
  const last = lines.at(-1);
  assert.ok(ended, `\`${last?.begins?.join(' ')}\` does not end`);
  const said = lines.filter(({ begins }) => begins === undefined);
  assert.is(said.length, commands.length, `\`${last?.begins?.join(' ')}\` ended the process`);
  return said;
}

for (const [damage, spoil] of Object.entries(DAMAGES)) {
  test(`every command ends plainly with ${damage} in place of any record`, async ({
    project,
    cli,
  }) => {
    const commands: { dir: string; args: readonly string[]; record: string }[] = [];
    const copies = path.join(project.dir, 'copies');
    rmSync(copies, { recursive: true, force: true });
    mkdirSync(copies);
    let n = 0;
    const copyOf = (record: string): string => {
      const dir = path.join(copies, String(++n));
      mkdirSync(dir);
      for (const name of readdirSync(project.dir))
        if (!['copies', 'said.jsonl', '.cache'].includes(name))
          cpSync(path.join(project.dir, name), path.join(dir, name), {
            recursive: true,
            preserveTimestamps: true,
          });
      const file = path.join(dir, RECORDS[record]!(dir));
      spoil(file);
      return dir;
    };
    for (const record of Object.keys(RECORDS)) {
      const dir = copyOf(record);
      for (const args of READERS) commands.push({ dir, args, record });
      for (const args of WRITERS) commands.push({ dir: copyOf(record), args, record });
    }
    const said = await runAll(cli, project, commands);
    const wrong = said.flatMap(({ args, code, said: words, thrown }, i) =>
      /internal error|\n\s+at /.test(words) || thrown !== '' || ![0, 1, 2].includes(code)
        ? [`${present(commands[i]).record}: ${args.join(' ')} → ${code}\n${thrown}${words}`]
        : [],
    );
    for (const name of readdirSync(copies)) chmodSync(path.join(copies, name), 0o755);
    assert.is(wrong.length, 0, `${wrong.length} of ${said.length}\n\n${wrong.join('\n\n')}`);
  });
}

test.run();
