import type { SourceContext } from '../api.ts';
import { cacheDir } from '../setup/paths.mjs';

/** Returns what sources are given: the download cache, the environment, and a log. */
export const sourceContext = (log: (message: string) => void): SourceContext => ({
  cacheDir: cacheDir(process.env),
  env: process.env,
  log,
});
