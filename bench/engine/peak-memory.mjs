/**
 * Loaded before a program: writes its peak memory, in MB, to a file when it ends. Only the first
 * process writes; its children don't.
 */
import { writeFileSync } from 'node:fs';

const file = process.env.DOSIMETER_BENCH_PEAK;
delete process.env.DOSIMETER_BENCH_PEAK;
if (file !== undefined)
  process.on('exit', () => writeFileSync(file, String(process.resourceUsage().maxRSS / 1024)));
