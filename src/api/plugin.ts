/** What descriptors of every kind have in common, and all kinds of plugins. */
import type { AttackDescriptor, ScorerDescriptor } from './attack.ts';
import type { DatasetDescriptor, SourceDescriptor } from './data.ts';
import type { DefenceDescriptor } from './defence.ts';
import type { ExecutorDescriptor } from './executor.ts';
import type { AdapterDescriptor, ModelDescriptor } from './model.ts';
import type { StageDescriptor } from './stage.ts';

export interface Plugin<Kind extends string> {
  /** Set by the `define*` function. */
  readonly kind: Kind;
  /** Lower-case letters, digits and hyphens; unique among the plugins of its kind. */
  readonly name: string;
  /** One sentence, shown by `dosimeter plugins`. */
  readonly summary: string;
}

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
