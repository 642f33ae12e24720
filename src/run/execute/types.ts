/** The types of the third phase, which turns a plan into the outcomes of its stages. */
import type { AnyPlugin, Digest } from '../../api.ts';
import type { PlanRegistry, PluginKind } from '../../plan/graph.ts';

export type { Failed, Finished, OnEvent, Outcome, RunEvent } from '../log/events.ts';

/** The registry of a plan, with the modules that workers import. */
export interface RuntimeRegistry extends PlanRegistry {
  get(
    kind: PluginKind,
    name: string,
  ):
    | {
        readonly descriptor: AnyPlugin;
        readonly code: Digest;
        readonly module: string;
        readonly file?: string;
      }
    | undefined;
}
