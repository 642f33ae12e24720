/**
 * What a plugin may import: a descriptor type and a `define*` function for each kind of plugin, and
 * the types of what a plugin is handed. A descriptor is a plain record, its module's default
 * export. Heavy code is imported inside `load` or `run`, so that planning a grid loads no numerics.
 */
export type {
  AttackCheck,
  AttackDescriptor,
  AttackFamily,
  AttackInput,
  AttackTrainingLoader,
  KeptAnswers,
  OutputBytes,
  Poisoned,
  ScoredOutput,
  ScorerCheck,
  ScorerContext,
  ScorerDescriptor,
  ScorerVerdict,
  ServiceCalls,
  Target,
} from './api/attack.ts';
export { defineAttack, defineScorer } from './api/attack.ts';
export type {
  AttackStep,
  BaseTraining,
  Cell,
  CellSplit,
  ClassColumns,
  Column,
  CompletionColumns,
  HeadSettings,
  HeldWeights,
  KernelPoint,
  Order,
  Poisoning,
  ResolvedSplit,
  TrainingRequest,
} from './api/cell.ts';
export {
  attackedTraining,
  attackOf,
  baseOf,
  basePrefix,
  basesOf,
  beforeTraining,
  cleanTwin,
  hasOrder,
  headSettings,
  heldWeights,
  inOrder,
  isAttacked,
  isAttacksOwn,
  isChain,
  isOfBase,
  JOINT,
  orderedLike,
  placeInEpoch,
  pointName,
  pointsIn,
  startInputs,
  stepsOf,
  trainingsOf,
  undefended,
  withoutOrder,
} from './api/cell.ts';
export type {
  Asset,
  DatasetDescriptor,
  DatasetInfo,
  KnownRows,
  Message,
  RawRow,
  Row,
  SourceContext,
  SourceDescriptor,
  Task,
} from './api/data.ts';
export { defineDataset, defineSource, SCORE, taskOf } from './api/data.ts';
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
export type { AdapterDescriptor, ModelDescriptor } from './api/model.ts';
export { defineAdapter, defineModel } from './api/model.ts';
export type { AnyPlugin } from './api/plugin.ts';
export type {
  AttackTarget,
  DefineRequest,
  ExperimentFacts,
  Forecast,
  Packing,
  Precision,
  PythonPackage,
  PreflightContext,
  Resources,
  RunContext,
  StageDefinition,
  StageDescriptor,
  SourceFacts,
  StageFacts,
  StageInput,
  StageParts,
  StageRequest,
  UpstreamStage,
  Work,
} from './api/stage.ts';
export { defineStage } from './api/stage.ts';
export type { Problem, Warning } from './base/fault.ts';
export { problemOf, UserFault } from './base/fault.ts';
export type { BackendName, Digest, Json, JsonObject, JsonSchema } from './base/json.ts';
export type { RandomStream } from './base/random.ts';
export type { SplitSpec } from './spec/pipeline.generated.ts';
