import type { PreflightContext, Problem } from '../../../src/api.ts';
import { notKept } from '../../../src/science/train/checkpoints.ts';
import type { Params } from './index.ts';

/** The parameters of the training that say which steps it keeps. */
type Training = {
  readonly checkpoints?: number | readonly number[];
  readonly steps?: number;
};

/**
 * Reports, before the training runs, a step that the training will not keep. It reads the
 * training's parameters, because the spec may give the number of steps in several places.
 */
export function preflight({
  params: { step },
  upstream,
}: PreflightContext<Params>): readonly Problem[] {
  const training = upstream?.['model']?.params['train'] as Training | undefined;
  if (step === undefined || training === undefined) return [];
  const message = notKept(step, training.checkpoints ?? 0, training.steps ?? null);
  if (message === null) return [];
  const hint = 'Write the step into train.checkpoints, or leave it out of ntk.at.';
  return [{ path: ['ntk', 'at'], message, hint }];
}
