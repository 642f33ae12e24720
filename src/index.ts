/**
 * What `import … from 'dosimeter'` gives: the plugin API and the engine. This file is for types,
 * and for code that runs from source; a built package exports the same names from
 * src/setup/index.mjs, which loads the engine when it is first called.
 */
export * from './api.ts';
export { plan, results, run } from './run/library.ts';
export type {
  Diagnostic,
  PerKind,
  Plan,
  Result,
  Results,
  RunEvent,
  RunOptions,
  RunResult,
  SpecOptions,
  StageInPlan,
} from './run/library.ts';
