/** A user's folder: a spec, plugin files beside it, and the real command line run in it. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const launcher = fileURLToPath(new URL('../../src/setup/launcher.mjs', import.meta.url));

export interface Said {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly process: ChildProcess;
  readonly ended: Promise<Said>;
  /** Resolves when stderr has this text; rejects if the command ends first. */
  saw(text: string): Promise<void>;
}

export interface Project {
  readonly dir: string;
  write(name: string, text: string): void;
  read(name: string): string;
  exists(name: string): boolean;
  lines(name: string): string[];
  start(...args: readonly string[]): Started;
  /** The same, with more in its environment, or by way of another command (`setpriv …`). */
  startWith(
    how: { readonly env?: Readonly<Record<string, string>>; readonly under?: readonly string[] },
    ...args: readonly string[]
  ): Started;
  dosimeter(...args: readonly string[]): Promise<Said>;
  json<T>(...args: readonly string[]): Promise<T>;
  /** Keys of the store. */
  entries(): string[];
  clean(): void;
}

export function createProject(): Project {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  const file = (name: string): string => path.join(dir, name);
  const project: Project = {
    dir,
    write: (name, text) => {
      mkdirSync(path.dirname(file(name)), { recursive: true });
      writeFileSync(file(name), text);
    },
    read: (name) => readFileSync(file(name), 'utf8'),
    exists: (name) => existsSync(file(name)),
    lines: (name) =>
      existsSync(file(name))
        ? readFileSync(file(name), 'utf8')
            .split('\n')
            .filter((line) => line !== '')
        : [],
    start: (...args) => project.startWith({}, ...args),
    startWith({ env = {}, under = [] }, ...args) {
      const [command, ...rest] = [...under, process.execPath, launcher, ...args];
      const child = spawn(command!, rest, {
        cwd: dir,
        env: { ...process.env, NO_COLOR: '1', DOSIMETER_CACHE: file('.cache'), ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let stdout = '',
        stderr = '',
        over = false;
      const waiting: {
        readonly text: string;
        readonly resolve: () => void;
        readonly reject: (error: Error) => void;
      }[] = [];
      const check = (): void => {
        for (const one of waiting.splice(0)) {
          if (stderr.includes(one.text)) one.resolve();
          else if (over) one.reject(new Error(`ended without "${one.text}":\n${stderr}`));
          else waiting.push(one);
        }
      };
      child.stdout.on('data', (chunk: Buffer) => {
        stdout += chunk.toString();
      });
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
        check();
      });
      const ended = new Promise<Said>((resolve) => {
        child.on('close', (code, signal) => {
          over = true;
          check();
          resolve({ code, signal, stdout, stderr });
        });
      });
      return {
        process: child,
        ended,
        saw: (text) =>
          new Promise<void>((resolve, reject) => {
            waiting.push({ text, resolve, reject });
            check();
          }),
      };
    },
    dosimeter: (...args) => project.start(...args).ended,
    async json<T>(...args: readonly string[]) {
      const said = await project.dosimeter(...args);
      try {
        return JSON.parse(said.stdout) as T;
      } catch {
        throw new Error(
          `no JSON (exit code ${String(said.code)}):\n${said.stdout}\n${said.stderr}`,
        );
      }
    },
    entries() {
      const store = file('.dosimeter/store');
      return !existsSync(store)
        ? []
        : readdirSync(store)
            .filter((name) => /^[0-9a-f]{2}$/.test(name))
            .flatMap((shard) => readdirSync(path.join(store, shard)));
    },
    clean: () => rmSync(dir, { recursive: true, force: true }),
  };
  return project;
}

/**
 * A spec on three fixture stages: toy-train (reads TOY of its environment, or `toy.json`: what a seed, or a seed at a rate, does) → toy-evaluate → toy-report. Each run adds a line to `ran.log`.
 * @param axes more lines of YAML
 */
export function writeToys(
  project: Project,
  {
    seeds = [1, 2],
    poisoning = '[{ attack: none }, { attack: label-flip, rate: [0.1, 0.3] }]',
  }: { readonly seeds?: readonly number[]; readonly poisoning?: string } = {},
): void {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: toys
seeds: [${seeds.join(', ')}]
model: { source: "file:model" }
data:
  train: { source: "file:rows.tsv" }
  validation: { source: "file:rows.tsv" }
poisoning: ${poisoning}
plugins: [./toy-train.mjs, ./toy-evaluate.mjs, ./toy-report.mjs]
stages: [toy-train, toy-evaluate, toy-report]
`,
  );
  const log = JSON.stringify(path.join(project.dir, 'ran.log')),
    toy = JSON.stringify(path.join(project.dir, 'toy.json'));
  project.write(
    'toy-train.mjs',
    `import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'toy-train', summary: 'Trains nothing.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: { seed: cell.seed, poisoning: cell.poisoning }, inputs: {}, assets: { rows: cell.data.train.source } }),
  async run(ctx) {
    const { seed, poisoning } = ctx.params;
    const toy = process.env.TOY ? JSON.parse(process.env.TOY) : existsSync(${toy}) ? JSON.parse(readFileSync(${toy}, 'utf8')) : {};
    const does = toy[seed + '/' + poisoning.rate] ?? toy[seed];
    if (does === 'throw') throw new Error('no training today');
    if (does === 'fault') throw Object.assign(new Error('the loss is NaN at step 7; the last finite one was 0.3'), { name: 'UserFault', hint: 'lower the learning rate' });
    if (does === 'exit') process.exit(3);
    if (does === 'hang') { ctx.log('hanging'); await new Promise((resolve) => setTimeout(resolve, 60_000)); }
    if (typeof does === 'number') await new Promise((resolve) => setTimeout(resolve, does));
    appendFileSync(${log}, \`train \${seed} \${poisoning.attack} \${poisoning.rate ?? ''}\\n\`);
    writeFileSync(ctx.outDir + '/model.json', JSON.stringify({ seed, poisoning, rows: readFileSync(ctx.assets.rows.path, 'utf8').length }));
    writeFileSync(ctx.outDir + '/metrics.json', JSON.stringify({ steps: 7 }));
  },
});
`,
  );
  project.write(
    'toy-evaluate.mjs',
    `import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'toy-evaluate', summary: 'Evaluates nothing.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'toy-train', cell } } }),
  async run(ctx) {
    const { seed, poisoning } = JSON.parse(readFileSync(ctx.inputs.model.dir + '/model.json', 'utf8'));
    appendFileSync(${log}, \`evaluate \${seed} \${poisoning.attack} \${poisoning.rate ?? ''}\\n\`);
    writeFileSync(ctx.outDir + '/metrics.json', JSON.stringify({ accuracy: 1 - (poisoning.rate ?? 0) - seed / 100 }));
  },
});
`,
  );
  project.write(
    'toy-report.mjs',
    `import { writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'toy-report', summary: 'Reports nothing.', compute: false, scope: 'experiment', tolerant: true,
  define: (cells) => ({ params: {}, inputs: Object.fromEntries(cells.map((cell, i) => ['e' + i, { kind: 'toy-evaluate', cell }])) }),
  async run(ctx) { writeFileSync(ctx.outDir + '/report.html', '<p>' + Object.keys(ctx.inputs).length + ' of ' + ctx.experiment.cells.length + '</p>'); },
});
`,
  );
}
