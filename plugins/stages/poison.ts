import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type {
  AttackDescriptor,
  Poisoning,
  PreflightContext,
  Problem,
  UserFault,
} from '../../src/api.ts';
import { defineStage, problemOf, stepsOf } from '../../src/api.ts';
import { filesApart } from '../../src/command/files.ts';
import type { SplitCounts } from '../../src/data/split-counts.ts';
import type { Step } from '../../src/poisoning/steps.ts';

interface Params {
  readonly poisoning: Poisoning;
  /** Null for the clean baseline, which draws nothing: one serves every seed. */
  readonly seed: number | null;
}

/** The training rows' classes and counts, if they can be told without waiting; null else, and where the data stage will say what is wrong. */
async function knownRows(
  { params, assets, dir }: NonNullable<PreflightContext['upstream']>[string],
  plugin: PreflightContext['plugin'],
): Promise<SplitCounts | null> {
  if (dir !== null) return (await import('../../src/data/rows-file.ts')).readDatasetInfo(dir);
  const [{ splitRequest }, { splitCounts }] = await Promise.all([
    import('../../src/data/split-request.ts'),
    import('../../src/data/split-counts.ts'),
  ]);
  const request = splitRequest(params, assets, plugin);
  // A corpus of a package takes seconds to read.
  if (request === null || request.dataset.unordered) return null;
  return splitCounts(request).catch((error: unknown) => {
    problemOf(error, []);
    return null;
  });
}

export default defineStage({
  name: 'poison',
  summary: 'Poisons the training rows, and writes a receipt of what was changed.',
  compute: false,
  scope: 'cell',
  define([cell]) {
    const { seed } = cell!,
      { poisoning, assets } = filesApart(cell!.poisoning);
    return {
      params: { poisoning, seed: poisoning.attack === 'none' ? null : seed },
      inputs: { data: { kind: 'data', cell: cell!, with: { split: 'train' } } },
      assets,
      uses: stepsOf(poisoning).map(({ attack }) => ({ kind: 'attack', name: attack })),
    };
  },
  async preflight({ params, upstream, plugin }) {
    const { poisoning } = params as unknown as Params,
      data = upstream?.['data'];
    const [{ backdoorOf, openSteps }, { checkSteps }] = await Promise.all([
      import('../../src/poisoning/steps.ts'),
      import('../../src/poisoning/compose.ts'),
    ]);
    const steps = openSteps(poisoning, (name) => plugin<AttackDescriptor>('attack', name));
    try {
      backdoorOf(steps);
    } catch (error) {
      return [problemOf(error, ['poisoning', 'steps'])];
    }
    if (steps.every(({ attack }) => attack.family === 'none') || data === undefined) return [];
    const known = await knownRows(data, plugin);
    if (known === null) return [];
    const [{ emptyDose }, { familyOf, targetOf }] = await Promise.all([
      import('../../src/poisoning/dose.ts'),
      import('../../src/poisoning/evaluation.ts'),
    ]);
    const targetFault = ({ attack, params: own }: Step): readonly Problem[] => {
      if (familyOf(attack, own) !== 'backdoor') return [];
      try {
        targetOf(attack, own, known.classes);
        return [];
      } catch (error) {
        return [problemOf(error, (error as UserFault).path ?? ['poisoning', 'target'])];
      }
    };
    const check = (step: Step): readonly Problem[] => {
      const { attack, params: own } = step;
      const found = attack.check
        ? attack.check({ params: own, ...known })
        : typeof own['rate'] === 'number'
          ? emptyDose(
              { rate: own['rate'] },
              known.counts.reduce((sum, count) => sum + count, 0),
            )
          : [];
      // What the attack's own check says of its target is not said again.
      return found.some(({ warning }) => !warning) ? found : [...targetFault(step), ...found];
    };
    return steps.length === 1 ? check(steps[0]!) : checkSteps(steps, known, check);
  },
  async run(context) {
    const [
      { backdoorOf, openSteps },
      { targetOf },
      { joined, poisonRows },
      { makeReceipt },
      { attackStreams },
      { readOnly },
      files,
    ] = await Promise.all([
      import('../../src/poisoning/steps.ts'),
      import('../../src/poisoning/evaluation.ts'),
      import('../../src/poisoning/compose.ts'),
      import('../../src/poisoning/receipt.ts'),
      import('../../src/poisoning/streams.ts'),
      import('../../src/poisoning/read-only.ts'),
      import('../../src/data/rows-file.ts'),
    ]);
    const { poisoning, seed } = context.params as unknown as Params;
    const { attack: name, ...params } = poisoning;
    const paths = Object.fromEntries(
      Object.entries(context.assets).map(([file, { path }]) => [file, path]),
    );
    const steps = openSteps(
      poisoning,
      (attack) => context.plugin<AttackDescriptor>('attack', attack),
      paths,
    );
    const backdoor = backdoorOf(steps); // refuses a second one
    const dir = context.inputs['data']!.dir;
    const { classes } = await files.readDatasetInfo(dir);
    if (backdoor !== null) targetOf(backdoor.attack, backdoor.params, classes);
    const clean = readOnly(await files.readRows(dir));

    const { rows, steps: done } = await poisonRows(clean, steps, {
      classes,
      streams: (attack) => attackStreams(seed ?? 0, attack),
      log: context.log,
    });
    const receipt = makeReceipt(clean, rows, joined(done), name, params, seed, done);

    await files.writeDataset(context.outDir, rows, classes);
    const { counts } = receipt;
    await writeFile(join(context.outDir, 'receipt.json'), `${JSON.stringify(receipt, null, 2)}\n`);
    await writeFile(
      join(context.outDir, 'metrics.json'),
      `${JSON.stringify(
        {
          rows_total: counts.total,
          poisoned_asked: counts.asked,
          poisoned_made: counts.made,
          ...(counts.eligible === undefined ? {} : { poisoned_eligible: counts.eligible }),
          negatives: counts.negatives,
          ...Object.fromEntries(
            (receipt.steps ?? []).flatMap(({ attack, counts: { asked, made, eligible } }) => [
              [`poisoned_asked.${attack}`, asked],
              [`poisoned_made.${attack}`, made],
              [`poisoned_eligible.${attack}`, eligible],
            ]),
          ),
        },
        null,
        2,
      )}\n`,
    );
    for (const {
      attack,
      poisoned: { changed, asked, eligible, negatives },
    } of done)
      context.log(
        `${attack}: ${changed.length} of ${clean.length} rows poisoned (${asked} asked, ${eligible} eligible), ${negatives.length} negatives added`,
      );
  },
});
