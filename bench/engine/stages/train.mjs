/** A trivial second stage of a cell: reads the file of the first one and writes another. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineStage } from 'dosimeter';

export default defineStage({
  name: 'bench-train',
  summary: 'Squares the rate.',
  compute: false,
  scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { rows: { kind: 'bench-poison', cell } } }),
  async run({ inputs, outDir }) {
    const rate = Number(readFileSync(join(inputs.rows.dir, 'rows.txt'), 'utf8'));
    writeFileSync(join(outDir, 'model.txt'), `${rate * rate}\n`);
  },
});
