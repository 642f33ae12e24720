import { readFile, writeFile } from 'node:fs/promises';
import { defineStage } from 'dosimeter';

const lengths = async ({ dir }) =>
  (await readFile(`${dir}/rows.jsonl`, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).text.split(/\s+/).length);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * A stage of each cell. Its key is made of what `define` returns; its metrics.json is in `dosimeter
 * results` and in the report.
 */
export default defineStage({
  name: 'length',
  summary: 'How many words the rows have, before and after poisoning.',
  compute: false,
  scope: 'cell',
  define: ([cell]) => ({
    params: {},
    inputs: {
      clean: { kind: 'data', cell, with: { split: 'train' } },
      poisoned: { kind: 'poison', cell },
    },
  }),
  async run({ inputs, outDir, log }) {
    const before = mean(await lengths(inputs.clean)),
      after = mean(await lengths(inputs.poisoned));
    log(`${before.toFixed(2)} words a row, ${after.toFixed(2)} when poisoned`);
    await writeFile(
      `${outDir}/metrics.json`,
      JSON.stringify({ words_clean: before, words_poisoned: after }),
    );
  },
});
