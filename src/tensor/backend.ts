/**
 * Finds this machine's tensor backends and loads one. Other folders import from here, except for
 * `operation.ts`, which they import directly because it loads tfjs.
 */
export { probe, chooseBackend } from './probe.ts';
export { loadBackend } from './load.ts';
export { visibleGpus } from './gpus.ts';
export { bf16Fault } from './bf16.ts';
export type { LoadOptions } from './load.ts';
export { BACKENDS } from './types.ts';
export type { BackendInfo, BackendProbe } from './types.ts';
