import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineStage } from '../../src/api.ts';
import type { AttackDescriptor, JsonObject } from '../../src/api.ts';
import { filesApart } from '../../src/command/files.ts';

interface Params {
  readonly poisoning: { readonly attack: string } & JsonObject;
  /** Null for the clean baseline, which draws nothing: one serves every seed. */
  readonly seed: number | null;
}

export default defineStage({
  name: 'poison',
  summary: 'Poisons the training rows, and writes a receipt of what was changed.',
  compute: false,
  scope: 'cell',
  define([cell]) {
    const { seed } = cell!, { poisoning, assets } = filesApart(cell!.poisoning);
    return {
      params: { poisoning, seed: poisoning.attack === 'none' ? null : seed },
      inputs: { data: { kind: 'data', cell: cell!, with: { split: 'train' } } },
      assets,
      uses: [{ kind: 'attack', name: poisoning.attack }],
    };
  },
  async run(context) {
    const [{ applyPoisoned }, { makeReceipt }, { attackStreams }, files] = await Promise.all([
      import('../../src/poisoning/apply.ts'), import('../../src/poisoning/receipt.ts'), import('../../src/poisoning/streams.ts'), import('../../src/data/rows-file.ts'),
    ]);
    const { poisoning, seed } = context.params as unknown as Params;
    const { attack: name, ...params } = poisoning;
    const attack = context.plugin<AttackDescriptor>('attack', name);
    const dir = context.inputs['data']!.dir;
    const { classes, provenance } = await files.readDatasetInfo(dir);
    // An attack that wrote into the rows it was given would change the training set unseen by its receipt.
    const clean = Object.freeze((await files.readRows(dir)).map(row => Object.freeze(row)));

    const paths = Object.fromEntries(Object.entries(context.assets).map(([file, { path }]) => [file, path]));
    const poisoned = await attack.poison({ rows: clean, classes, params, random: attackStreams(seed ?? 0, name), files: paths, log: context.log });
    const rows = applyPoisoned(name, clean, poisoned, classes);
    const receipt = makeReceipt(clean, rows, poisoned, name, params, seed);

    await files.writeDataset(context.outDir, rows, classes, { data: provenance, poisoning, seed });
    const { counts } = receipt;
    await writeFile(join(context.outDir, 'receipt.json'), `${JSON.stringify(receipt, null, 2)}\n`);
    await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify({
      rows_total: counts.total, poisoned_asked: counts.asked, poisoned_made: counts.made, poisoned_eligible: counts.eligible, negatives: counts.negatives,
    }, null, 2)}\n`);
    context.log(`${name}: ${counts.made} of ${clean.length} rows poisoned (${counts.asked} asked, ${counts.eligible} eligible), ${counts.negatives} negatives added`);
  },
});
