import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineStage, problemOf } from '../../src/api.ts';
import type { AttackDescriptor, JsonObject, PreflightContext } from '../../src/api.ts';
import { filesApart } from '../../src/command/files.ts';
import type { SplitCounts } from '../../src/data/split-counts.ts';

interface Params {
  readonly poisoning: { readonly attack: string } & JsonObject;
  /** Null for the clean baseline, which draws nothing: one serves every seed. */
  readonly seed: number | null;
}

/** The training rows' classes and counts, if they can be told without waiting; null else, and where the data stage will say what is wrong. */
async function knownRows({ params, assets, dir }: NonNullable<PreflightContext['upstream']>[string], plugin: PreflightContext['plugin']): Promise<SplitCounts | null> {
  if (dir !== null) return (await import('../../src/data/rows-file.ts')).readDatasetInfo(dir);
  const [{ splitRequest }, { splitCounts }] = await Promise.all([import('../../src/data/split-request.ts'), import('../../src/data/split-counts.ts')]);
  const request = splitRequest(params, assets, plugin);
  // A corpus of a package takes seconds to read.
  if (request === null || request.dataset.unordered) return null;
  return splitCounts(request).catch((error: unknown) => { problemOf(error, []); return null; });
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
  async preflight({ params, upstream, plugin }) {
    const { attack: name, ...own } = (params as unknown as Params).poisoning;
    const attack = plugin<AttackDescriptor>('attack', name), data = upstream?.['data'];
    if (attack.family === 'none' || data === undefined) return [];
    const known = await knownRows(data, plugin);
    if (known === null) return [];
    const [{ emptyDose }, { familyOf }] = await Promise.all([import('../../src/poisoning/dose.ts'), import('../../src/poisoning/evaluation.ts')]);
    if (attack.check) return attack.check({ params: own, ...known });
    if (familyOf(attack, own) === 'backdoor') {
      try { attack.target!(own, known.classes); } catch (error) { return [problemOf(error, ['poisoning', 'target'])]; }
    }
    return typeof own['rate'] === 'number' ? emptyDose({ rate: own['rate'] }, known.counts.reduce((sum, count) => sum + count, 0)) : [];
  },
  async run(context) {
    const [{ applyPoisoned }, { makeReceipt }, { attackStreams }, { asking, readOnly }, files] = await Promise.all([
      import('../../src/poisoning/apply.ts'), import('../../src/poisoning/receipt.ts'), import('../../src/poisoning/streams.ts'), import('../../src/poisoning/read-only.ts'), import('../../src/data/rows-file.ts'),
    ]);
    const { poisoning, seed } = context.params as unknown as Params;
    const { attack: name, ...params } = poisoning;
    const attack = context.plugin<AttackDescriptor>('attack', name);
    const dir = context.inputs['data']!.dir;
    const { classes } = await files.readDatasetInfo(dir);
    const clean = readOnly(await files.readRows(dir));

    const paths = Object.fromEntries(Object.entries(context.assets).map(([file, { path }]) => [file, path]));
    const poisoned = await asking(name, () => attack.poison({ rows: clean, classes, params, random: attackStreams(seed ?? 0, name), files: paths, log: context.log }));
    const rows = applyPoisoned(name, clean, poisoned, classes);
    const receipt = makeReceipt(clean, rows, poisoned, name, params, seed);

    await files.writeDataset(context.outDir, rows, classes);
    const { counts } = receipt;
    await writeFile(join(context.outDir, 'receipt.json'), `${JSON.stringify(receipt, null, 2)}\n`);
    await writeFile(join(context.outDir, 'metrics.json'), `${JSON.stringify({
      rows_total: counts.total, poisoned_asked: counts.asked, poisoned_made: counts.made, poisoned_eligible: counts.eligible, negatives: counts.negatives,
    }, null, 2)}\n`);
    context.log(`${name}: ${counts.made} of ${clean.length} rows poisoned (${counts.asked} asked, ${counts.eligible} eligible), ${counts.negatives} negatives added`);
  },
});
