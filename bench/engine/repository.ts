/**
 * Makes a tool's folder a git repository that ignores results, as a user's folder is. turbo is
 * faster in a repository, and dosimeter records its commit.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const RESULTS = [
  '/.dosimeter/',
  '/cache/',
  '.turbo/',
  '.wireit/',
  '.snakemake/',
  '.dvc/',
  '.doit*',
  '.ninja*',
  '__pycache__/',
  '/poison/',
  '/train/',
  '/evaluate/',
  'poison.txt',
  'train.txt',
  'evaluate.txt',
  'report.txt',
];

export function commitAll(dir: string): void {
  writeFileSync(join(dir, '.gitignore'), `${RESULTS.join('\n')}\n`);
  const settings = [
    'user.name=bench',
    'user.email=bench@localhost',
    'commit.gpgsign=false',
    'maintenance.auto=false',
  ].flatMap((setting) => ['-c', setting]);
  for (const args of [
    ['init', '-q'],
    ['add', '-A'],
    ['commit', '-q', '-m', 'The grid'],
  ])
    execFileSync('git', [...settings, ...args], {
      cwd: dir,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
}
