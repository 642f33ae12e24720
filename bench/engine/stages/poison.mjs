/** A trivial first stage of a cell: writes a text made from the cell's value. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineStage } from 'dosimeter';

export default defineStage({
  name: 'bench-poison',
  summary: "Writes the cell's rate.",
  compute: false,
  scope: 'cell',
  define: ([cell]) => ({ params: { rate: cell.poisoning.rate }, inputs: {} }),
  async run({ params, outDir }) {
    writeFileSync(join(outDir, 'rows.txt'), `${params.rate}\n`);
  },
});
