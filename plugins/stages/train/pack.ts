/** Runs trainings over one frozen base as one job. */
import { openGathering } from '../../../src/science/training/company.ts';
import { openMeeting } from '../../../src/science/training/pack-meeting.ts';
import { computesOnGpu } from '../../../src/tensor/operation.ts';
import type { Context } from './params.ts';
import { run } from './run.ts';

/**
 * Runs each stage separately, except for the training, in which all of them meet.
 * @param stacks whether the trained values of all are stacked, which saves time on a GPU and
 *   changes last bits; else each keeps the bits that it has alone
 */
export function runPacked(
  contexts: readonly Context[],
  stacks = computesOnGpu(),
): readonly Promise<void>[] {
  const meeting = (stacks ? openMeeting : openGathering)(contexts.length);
  return contexts.map(async (context, seat) => {
    const arrival = { came: false };
    try {
      await run(context, (...call) => {
        arrival.came = true;
        return meeting.train(seat, ...call);
      });
    } finally {
      if (!arrival.came) meeting.leave();
    }
  });
}
