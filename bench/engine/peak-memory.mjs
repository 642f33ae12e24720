/**
 * Loaded before a program: its peak memory, in MB, goes to a file when it ends. The first process
 * to start writes; its children don't.
 */
import { writeFileSync } from 'node:fs';

const file = process.env.DOSIMETER_BENCH_PEAK;
delete process.env.DOSIMETER_BENCH_PEAK;
if (file !== undefined)
  process.on('exit', () => writeFileSync(file, String(process.resourceUsage().maxRSS / 1024)));
