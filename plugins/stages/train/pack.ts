/** Runs trainings over one frozen base as one job. */
import { openMeeting } from '../../../src/science/train/pack-meeting.ts';
import type { Context } from './params.ts';
import { run } from './run.ts';

/** Runs each stage separately, except for the training, in which all of them meet. */
export function runPacked(contexts: readonly Context[]): readonly Promise<void>[] {
  const meeting = openMeeting(contexts.length);
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
