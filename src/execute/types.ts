/** Phase 3, Plan → outcomes. */
import type { AnyPlugin, Digest } from '../api.ts';
import type { PlanRegistry, PluginKind } from '../plan/graph.ts';

export type { Failed, Finished, OnEvent, Outcome, RunEvent } from '../log/events.ts';

/** What running needs of a registry: beside the descriptor, the module that a worker imports. */
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
