/** Trainings over one frozen base, run as one job. */
import { openMeeting } from '../../../src/science/train/pack-meeting.ts';
import type { Context } from './params.ts';
import { run } from './run.ts';

/** Each stage does its own work by itself, but for the training, where all of them meet. */
export function runPacked(contexts: readonly Context[]): readonly Promise<void>[] {
  const { train, leave } = openMeeting(contexts.length);
  return contexts.map(async (context, seat) => {
    let came = false;
    try {
      await run(context, (...call) => {
        came = true;
        return train(seat, ...call);
      });
    } finally {
      if (!came) leave();
    }
  });
}
