/**
 * The grid as a dosimeter spec: four stages from plugins outside the repository.
 */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setAside } from './aside.ts';
import { type Command, output } from './clock.ts';
import type { Tool } from './tool.ts';

const launcher = fileURLToPath(new URL('../../src/setup/launcher.mjs', import.meta.url));
const stages = fileURLToPath(new URL('./stages', import.meta.url));

export const dosimeter = (dir: string, ...args: readonly string[]): Command => ({
  command: process.execPath,
  args: [launcher, ...args],
  env: { DOSIMETER_CACHE: join(dir, 'cache') },
});

function writeSpec(dir: string, cells: number, last: number): void {
  writeFileSync(
    join(dir, 'grid.yaml'),
    `name: bench
plugins: [stages/poison.mjs, stages/train.mjs, stages/evaluate.mjs, stages/report.mjs]
model: { source: "file:rows.tsv" }
data:
  train: { source: "file:rows.tsv" }
  validation: { source: "file:rows.tsv" }
poisoning:
  - { attack: label-flip, rate: { linspace: [0.1, 0.5, ${cells - 1}] } }
  - { attack: label-flip, rate: ${last} }
stages: [bench-report]
`,
  );
}

export const own: Tool = {
  name: 'dosimeter',
  version: () => output(process.execPath, [launcher, '--version']),
  write(dir, cells) {
    mkdirSync(dir, { recursive: true });
    cpSync(stages, join(dir, 'stages'), { recursive: true });
    writeFileSync(join(dir, 'rows.tsv'), 'text\tlabel\na\t0\nb\t1\n');
    writeSpec(dir, cells, 0.6);
  },
  run: (dir) => dosimeter(dir, 'run', 'grid.yaml', '--jobs', '2'),
  change(dir, cells, turn) {
    writeSpec(dir, cells, 0.6 + turn / 1000);
  },
  clean: (dir) => setAside(dir, ['.dosimeter']),
  report(dir) {
    const { command, args } = dosimeter(dir, 'plan', 'grid.yaml', '--json');
    const { stages: planned } = JSON.parse(output(command, args, dir) ?? '{}') as {
      stages: { kind: string; outputs: string | null }[];
    };
    return readFileSync(
      join(planned.find(({ kind }) => kind === 'bench-report')!.outputs!, 'report.txt'),
      'utf8',
    );
  },
};
