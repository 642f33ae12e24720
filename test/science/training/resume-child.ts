/**
 * A program that trains as resume.test.ts does, saves every second step, and kills itself after the
 * fifth.
 */
import { train } from '../../../src/science/training/loop.ts';
import { useBackend } from '../backend.ts';
import { openTiny, rows } from '../tiny-bert.ts';
import { everySecond, settings } from './resumed-run.ts';

const [dir, kind] = process.argv.slice(2) as [string, 'full' | 'lora'];
await useBackend('cpu');
const seen: number[] = [];
await train(await openTiny(kind), rows, settings, {
  onStep: ({ step, loss }) => {
    if (step === 5) process.kill(process.pid, 'SIGKILL');
    seen.push(loss);
  },
  resume: everySecond(dir, seen),
});
