/**
 * What a plugin may import: a descriptor type and a `define*` function for each kind of plugin, and
 * the types of what a plugin is handed. A descriptor is a plain record, its module's default
 * export. Heavy code is imported inside `load` or `run`, so that planning a grid loads no numerics.
 */
export type { SplitSpec } from './spec/pipeline.generated.ts';
export type { RandomStream } from './base/random.ts';
export type { AdapterDescriptor } from './api/adapter.ts';
export { defineAdapter } from './api/adapter.ts';
export type {
  AttackCheck,
  AttackDescriptor,
  AttackFamily,
  AttackInput,
  AttackTrainingLoader,
  Poisoned,
  Target,
} from './api/attack.ts';
export { defineAttack } from './api/attack.ts';
export type {
  Cell,
  CellSplit,
  ClassColumns,
  Column,
  CompletionColumns,
  ResolvedSplit,
} from './api/cell.ts';
export type { DatasetDescriptor, KnownRows } from './api/dataset.ts';
export { defineDataset } from './api/dataset.ts';
export type {
  AskedModel,
  DefenceContext,
  DefenceDescriptor,
  DefenceHook,
  DefenceMoment,
  DefenceNeed,
  DefenceOfModel,
  DefenceTraining,
  Judge,
  Judgement,
  RowsDefence,
  RowsHook,
  TrainingLength,
  Verdict,
} from './api/defence.ts';
export { DEFENCE_MOMENTS, defineDefence, momentsOf, partsOf } from './api/defence.ts';
export type {
  Cancelled,
  Demand,
  Executor,
  ExecutorContext,
  ExecutorDescriptor,
  ForeseenGroup,
  ForeseenJob,
  Job,
  JobHooks,
  JobResult,
  OutputFile,
  PackedJob,
  Place,
  Queues,
  ScheduledTask,
  SubmittedRun,
  TaskEvent,
  TaskMember,
} from './api/executor.ts';
export { defineExecutor, INTERRUPTED_TASK, LEAVE } from './api/executor.ts';
export type { Problem, Warning } from './base/fault.ts';
export { problemOf, UserFault } from './base/fault.ts';
export type { HeadSettings } from './api/head.ts';
export { headSettings } from './api/head.ts';
export type { BackendName, Digest, Json, JsonObject, JsonSchema } from './base/json.ts';
export type { KernelPoint } from './api/kernel-point.ts';
export { inOrder, pointName, pointsIn } from './api/kernel-point.ts';
export type { ModelDescriptor } from './api/model.ts';
export { defineModel } from './api/model.ts';
export type { AnyPlugin } from './api/plugin-kinds.ts';
export type { AttackStep, Order, Poisoning } from './api/poisoning.ts';
export {
  hasOrder,
  JOINT,
  orderedLike,
  placeInEpoch,
  stepsOf,
  withoutOrder,
} from './api/poisoning.ts';
export {
  attackOf,
  baseOf,
  beforeTraining,
  cleanTwin,
  isAttacked,
  isAttacksOwn,
  isOfBase,
  startInputs,
  undefended,
} from './api/related-cells.ts';
export type { DatasetInfo, Message, RawRow, Row, Task } from './api/row.ts';
export { SCORE, taskOf } from './api/row.ts';
export type {
  ExperimentFacts,
  PreflightContext,
  RunContext,
  StageFacts,
  StageInput,
  UpstreamStage,
} from './api/run-context.ts';
export type { ScoredOutput, ScorerCheck, ScorerContext, ScorerDescriptor } from './api/scorer.ts';
export { defineScorer } from './api/scorer.ts';
export type { Asset, SourceContext, SourceDescriptor } from './api/source.ts';
export { defineSource } from './api/source.ts';
export type {
  DefineRequest,
  AttackTarget,
  Forecast,
  Packing,
  Resources,
  StageDefinition,
  StageDescriptor,
  StageParts,
  StageRequest,
} from './api/stage.ts';
export { defineStage } from './api/stage.ts';
