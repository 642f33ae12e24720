/**
 * Finds this machine's tensor backends and loads one. It imports nothing of tfjs before that, so that
 * the engine may ask which backends there are.
 */
export { probe, chooseBackend } from './probe.ts';
export { loadBackend } from './load.ts';
export { visibleGpus } from './gpus.ts';
export { bf16Fault } from './bf16.ts';
export type { LoadOptions } from './load.ts';
export { BACKENDS } from './types.ts';
export type { BackendInfo, BackendProbe } from './types.ts';
