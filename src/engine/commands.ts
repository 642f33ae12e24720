/** A spec's `commands` as stages: each is the built-in stage `command` under a name, a scope and limits of its own. */
import type { JsonObject } from '../api.ts';
import type { CommandStage } from '../experiment/types.ts';
import type { LoadedPlugin, Registry } from '../registry/types.ts';

/** The stage plugin that runs programs; no goal by itself, since it would not know which. */
export const COMMAND = 'command';

export function commandStages(
  registry: Registry,
  commands: readonly CommandStage[],
): LoadedPlugin[] {
  const base = registry.get('stage', COMMAND);
  if (!base) throw new Error(`no stage plugin "${COMMAND}"`);
  return commands.map(
    ({
      name,
      scope,
      cpu,
      memory_mb,
      gpu,
      timeout_seconds,
      output_mb,
      ...asked
    }): LoadedPlugin<'stage'> => ({
      ...base,
      name,
      descriptor: {
        ...base.descriptor,
        name,
        scope,
        summary: `Runs ${asked.run.join(' ')}.`,
        limits: { timeout_seconds, output_mb },
        resources: () => ({
          cpu,
          gpu,
          ...(memory_mb === undefined ? {} : { memoryMB: memory_mb }),
        }),
        define: (cells, { goals }) =>
          base.descriptor.define(cells, {
            goals,
            with: { name, scope, ...asked } as unknown as JsonObject,
          }),
      },
    }),
  );
}
