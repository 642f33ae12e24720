/** A trivial third stage of a cell: writes the cell's number. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineStage } from 'dosimeter';

export default defineStage({
  name: 'bench-evaluate',
  summary: 'One minus what was trained.',
  compute: false,
  scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'bench-train', cell } } }),
  async run({ inputs, outDir }) {
    const model = Number(readFileSync(join(inputs.model.dir, 'model.txt'), 'utf8'));
    writeFileSync(join(outDir, 'metrics.json'), JSON.stringify({ accuracy: 1 - model }));
  },
});
