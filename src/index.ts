/**
 * What `import … from 'dosimeter'` means: the plugin API, and the engine. For types and for code run from source; a
 * built package has the same names by src/setup/index.mjs, which loads the engine when it is first called.
 */
export * from './api.ts';
export { plan, results, run } from './engine/library.ts';
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
} from './engine/library.ts';
