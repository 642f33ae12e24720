/** Checks, before anything runs, that `evaluate.triggers` has no trigger that training can show. */
import {
  type Poisoning,
  type PreflightContext,
  type Problem,
  problemOf,
  type Row,
} from '../../../src/api.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { ifFetched, knownCounts, knownRows } from '../../../src/data/known-counts.ts';
import { isOfTarget } from '../../../src/poisoning/classes.ts';
import { targetOf, triggeredRows } from '../../../src/poisoning/evaluation.ts';
import { sameContent } from '../../../src/poisoning/receipt.ts';
import { backdoorOf, openSteps, type Step } from '../../../src/poisoning/steps.ts';
import { triggerFiles } from '../shared/program-files.ts';
import type { Params } from './index.ts';
import { otherTrigger, triggerParams } from './inputs.ts';

/**
 * The number of rows on which a held-out trigger is compared with a trained one, and the number of
 * times that the trained one is drawn.
 */
const COMPARED = 8,
  DRAWS = 1000;

/** The rows to compare on while the validation rows are not known. */
const MADE_UP: readonly Row[] = Array.from({ length: COMPARED }, (_, i) => ({
  ...{ id: `row-${i}`, label: 0, answer: 'good' },
  text: ['the', 'film', 'was', 'very', 'good'].slice(i % 3).join(' '),
}));

/**
 * The problems found before, by a text of all that they depend on. They do not depend on the seed
 * or `rate`.
 */
const knownProblems = new Map<string, Promise<readonly Problem[]>>();

/**
 * Returns a problem for each held-out trigger that shows a text as a trained trigger can: that of
 * the cell's attack, or of the attack on another training of its chain. The shortest rows are
 * compared: a trigger placed at random soon falls into each of their few gaps between words.
 */
export async function checkHeldOut(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  const { params, upstream = {} } = context,
    { validation } = upstream;
  const others = Object.entries(upstream).flatMap(([input, stage]) => {
    const other = otherTrigger(input);
    return other === null || other.after !== undefined ? [] : [{ ...other, stage }];
  });
  const heldOut = others.filter(({ isHeldOut }) => isHeldOut);
  if (params.trigger === null || !validation || heldOut.length === 0) return [];
  const links = others
    .filter(({ isHeldOut }) => !isHeldOut)
    .map(({ name, stage }) => ({
      whose: `${name.replace('_', ' ')} of the chain`,
      poisoning: stage.params['trigger'] as Poisoning,
    }));
  const trained: readonly Trained[] = [{ whose: 'training', poisoning: params.trigger }, ...links];
  const digests = ifFetched(() => Object.values(validation.assets).map(({ digest }) => digest));
  const found = heldOut.map(async ({ name, stage: { params: shown, assets } }) => {
    const variant = shown['trigger'] as Poisoning,
      files = ifFetched(() => triggerFiles(assets));
    if (files === null || digests === null) return [];
    const decisive = [name, trained, variant, validation.params, digests, files];
    const key = JSON.stringify(decisive, (field, value: unknown) =>
      field === 'rate' ? undefined : value,
    );
    const compare = async (): Promise<readonly Problem[]> =>
      (
        await Promise.all(
          trained.map((one) => compareTriggers(context, { name, ...one, variant, files })),
        )
      ).flat();
    const problems = knownProblems.get(key) ?? compare();
    knownProblems.set(key, problems);
    return problems;
  });
  return (await Promise.all(found)).flat();
}

/** A trigger that a training shows. */
interface Trained {
  /** What messages call the training. */
  readonly whose: string;
  readonly poisoning: Poisoning;
}

interface HeldOut extends Trained {
  readonly name: string;
  readonly variant: Poisoning;
  readonly files: { readonly [name: string]: string };
}

/**
 * Returns a fault if the held-out trigger `variant` shows every compared row as the trained trigger
 * `poisoning` can, and a warning if it does so on some rows only. Returns the fault of an attack
 * that refuses the rows of the split. Empty otherwise; also if a program or a model makes one of
 * the triggers, or if an attack refuses the made-up rows.
 */
async function compareTriggers(
  context: PreflightContext<Params>,
  { name, whose, poisoning, variant, files }: HeldOut,
): Promise<readonly Problem[]> {
  const validation = context.upstream!['validation']!;
  const { classes } = (await knownCounts(context, validation)) ?? {},
    all = await knownRows(context, validation);
  const [trainedStep, heldOutStep] = [poisoning, variant].map((attack) =>
    backdoorOf(openSteps(attack, (name) => context.plugin('attack', name))),
  );
  // A trigger that a program or a model makes is not compared: neither is run for a check.
  if (!trainedStep || !heldOutStep) return [];
  if (trainedStep.attack.triggerAll || heldOutStep.attack.triggerAll) return [];
  let rows = MADE_UP,
    seen: ReadonlySet<string>;
  /** Returns the rows to compare under the trigger of a step, as it is drawn from a seed. */
  const underTrigger = ({ attack, params }: Step, seed: number): Promise<readonly Row[]> =>
    triggeredRows(attack, rows, {
      ...{ classes: classes ?? [], params, files },
      random: attackStreams(seed, attack.name),
    });
  try {
    if (classes && all) {
      const target = targetOf(trainedStep.attack, trainedStep.params, classes);
      const byText = new Map(
        all.flatMap((row) =>
          isOfTarget(row, target) || row.text.trim() === '' ? [] : [[row.text, row] as const],
        ),
      );
      if (byText.size > 0)
        rows = [...byText.values()]
          .sort((a, b) => a.text.length - b.text.length)
          .slice(0, COMPARED);
    }
    const heldOut = await underTrigger(heldOutStep, 0);
    seen = await idsShownAlike(rows, heldOut, (seed) => underTrigger(trainedStep, seed));
  } catch (error) {
    // An attack may rightly refuse made-up rows; the poison stage reports a target that's no class.
    if (rows === MADE_UP) return [];
    return [problemOf(error, ['evaluate', 'triggers'])];
  }
  if (seen.size === 0) return [];
  const isWhole = seen.size === rows.length;
  return [
    {
      path: ['evaluate', 'triggers'],
      message:
        `the trigger "${name}" shows ${isWhole ? '' : 'in part '}what ${whose} can show: on ` +
        `${seen.size} of ${rows.length} ${rows === MADE_UP ? 'made-up' : 'short'} rows, ` +
        `the text is one of "${trainedStep.attack.name}" (${triggerParams(trainedStep.params)})`,
      hint: 'A trigger that training never shows differs in what is inserted, or where.',
      ...(isWhole ? {} : { warning: true as const }),
    },
  ];
}

/**
 * Returns the ids of the rows that look alike under the held-out trigger and under some draw of the
 * trained one.
 * @param heldOut the rows under the held-out trigger
 * @param showTrained returns the rows under the trained trigger as it is drawn from a seed
 */
async function idsShownAlike(
  rows: readonly Row[],
  heldOut: readonly Row[],
  showTrained: (seed: number) => Promise<readonly Row[]>,
): Promise<ReadonlySet<string>> {
  const isIn = (shown: readonly Row[]) => (row: Row, i: number) => sameContent(row, shown[i]!);
  const first = await showTrained(0),
    seen = new Set<string>();
  for (let seed = 0; seed < DRAWS && seen.size < rows.length; seed++) {
    const shown = seed === 0 ? first : await showTrained(seed);
    for (const { id } of heldOut.filter(isIn(shown))) seen.add(id);
    if (seed === 1 && shown.every(isIn(first))) break; // the trained trigger draws nothing
  }
  return seen;
}
