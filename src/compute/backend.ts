/** Which tensor backends this machine has, and loading one: the room's front door (`operation.ts` apart, which loads tfjs). */
export { probe, chooseBackend } from './probe.ts';
export { loadBackend } from './load.ts';
export { visibleGpus } from './gpus.ts';
export type { LoadOptions } from './load.ts';
export { BACKENDS } from './types.ts';
export type { BackendInfo, BackendProbe } from './types.ts';
