import type { PreflightContext, Problem, ScorerDescriptor } from '../../../src/api.ts';
import { modelOf } from '../../../src/data/model-folder.ts';
import { targetOf } from '../../../src/poisoning/evaluation.ts';
import { backdoorOf, openSteps } from '../../../src/poisoning/steps.ts';
import type { Architecture } from '../../../src/science/models/types.ts';
import { checkRows, checkWritten } from '../../../src/science/training/check.ts';
import { assetOf } from '../shared/files.ts';
import { loadArchitecture } from '../shared/trained-model.ts';
import { answerLengths } from './answer-lengths.ts';
import type { Params } from './index.ts';
import { scorerFaults, type ScorerSettings } from './scoring.ts';
import { sharedRowProblems } from './shared-rows.ts';

export async function preflight(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  return [
    ...(await checkLength(context)),
    ...(await checkGeneration(context)),
    ...checkScorers(context),
    ...(await sharedRowProblems(context)),
  ];
}

/** The faults that the scorers' parameters reveal. */
function checkScorers(context: PreflightContext<Params>): readonly Problem[] {
  const { scorer, scorers = [] } = context.params.completion ?? {};
  if (scorer === undefined) return [];
  const target = targetText(context);
  const faults = (settings: ScorerSettings, path: Problem['path']): Problem[] =>
    scorerFaults(
      context.plugin<ScorerDescriptor>('scorer', settings.scorer),
      settings,
      target,
      path,
    );
  return [
    ...faults(scorer, ['scorer']),
    ...scorers.flatMap((settings, i) => faults(settings, ['scorers', i])),
  ];
}

/** The answer that the backdoor leads to; undefined without a backdoor. */
function targetText({ params, plugin }: PreflightContext<Params>): string | undefined {
  if (params.trigger === null) return undefined;
  const backdoor = backdoorOf(openSteps(params.trigger, (name) => plugin('attack', name)));
  const target = backdoor === null ? undefined : targetOf(backdoor.attack, backdoor.params, []);
  return typeof target === 'object' ? target.text : undefined;
}

/** Checks `max_length` if it is set for this stage. The train stage checks an inherited one. */
async function checkLength(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  const { max_length: value, inherited } = context.params;
  if (inherited) return [];
  return ofModel(context, (modelDir, architecture) =>
    checkRows(modelDir, architecture, { value, path: ['evaluate', 'max_length'] }),
  );
}

/**
 * Checks that the model has positions for the longest prompt with all that it may write, and that
 * answers can be written as far as they have to.
 */
async function checkGeneration(context: PreflightContext<Params>): Promise<readonly Problem[]> {
  const { max_length: longest, completion } = context.params;
  if (completion === undefined) return [];
  return ofModel(context, async (modelDir, architecture) => [
    ...(await checkWritten(modelDir, architecture, {
      longest,
      written: completion.max_new_tokens,
    })),
    ...(await answerLengths(context, completion, architecture, targetText(context))),
  ]);
}

/** Returns what a check of the model finds; nothing where the model itself is at fault. */
async function ofModel(
  context: PreflightContext<Params>,
  check: (modelDir: string, architecture: Architecture) => Promise<Problem[]>,
): Promise<readonly Problem[]> {
  const architecture = await loadArchitecture(context, context.params.architecture);
  try {
    const { path } = await modelOf(assetOf(context, 'model'));
    return await check(path, architecture);
  } catch (error) {
    // The train stage reports what is wrong with the model.
    if (error instanceof Error && error.name === 'UserFault') return [];
    throw error;
  }
}
