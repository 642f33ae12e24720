import type { PreflightContext, Problem } from '../../../src/api.ts';
import { notKept } from '../../../src/science/train/checkpoints.ts';
import type { Params } from './index.ts';

/** The training's own parameters, as far as they say which steps it keeps. */
type Training = {
  readonly checkpoints?: number | readonly number[];
  readonly steps?: number;
};

/**
 * Finds a step that the training will not keep before the training runs. It asks the training's
 * parameters, since the spec may give its number of steps in several places.
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
