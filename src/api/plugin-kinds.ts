/** All kinds of plugins. */
import type { AdapterDescriptor } from './adapter.ts';
import type { AttackDescriptor } from './attack.ts';
import type { DatasetDescriptor } from './dataset.ts';
import type { DefenceDescriptor } from './defence.ts';
import type { ExecutorDescriptor } from './executor.ts';
import type { ModelDescriptor } from './model.ts';
import type { ScorerDescriptor } from './scorer.ts';
import type { SourceDescriptor } from './source.ts';
import type { StageDescriptor } from './stage.ts';

/** A descriptor of any kind: what a plugin's module may export as default. */
export type AnyPlugin =
  | AttackDescriptor<never>
  | DefenceDescriptor<never>
  | ScorerDescriptor<never>
  | SourceDescriptor
  | DatasetDescriptor
  | ModelDescriptor
  | AdapterDescriptor
  | StageDescriptor
  | ExecutorDescriptor;
