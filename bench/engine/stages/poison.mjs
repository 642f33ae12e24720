/** A trivial first stage of a cell: what it writes is made of the cell's own value. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineStage } from 'dosimeter';

export default defineStage({
  name: 'bench-poison',
  summary: "Writes the cell's rate.",
  compute: false,
  scope: 'cell',
  inline: true,
  define: ([cell]) => ({ params: { rate: cell.poisoning.rate }, inputs: {} }),
  async run({ params, outDir }) {
    writeFileSync(join(outDir, 'rows.txt'), `${params.rate}\n`);
  },
});
