/**
 * Turns a spec's `commands` into stages. Each is the built-in stage `command` with its own name,
 * scope and limits.
 */
import type { JsonObject } from '../api.ts';
import type { CommandStage } from '../spec/types.ts';
import type { LoadedPlugin, Registry } from './registry/types.ts';

/**
 * The stage plugin that runs programs. It can't be a goal, because only a spec's `commands` say
 * what to run.
 */
export const COMMAND = 'command';

export function commandStages(
  registry: Registry,
  commands: readonly CommandStage[],
): LoadedPlugin[] {
  const base = registry.get('stage', COMMAND);
  if (!base) throw new Error(`no stage plugin "${COMMAND}"`);
  return commands.map((command) => commandStage(base, command));
}

function commandStage(base: LoadedPlugin<'stage'>, command: CommandStage): LoadedPlugin<'stage'> {
  const { name, scope, cpu, memory_mb, gpu, timeout_seconds, output_mb, ...asked } = command;
  const inputs = asked.inputs.map((input) => ({ ...input }));
  const params: JsonObject = { name, scope, ...asked, inputs };
  return {
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
        // A spec may leave out `memory_mb`.
        ...('memory_mb' in command ? { memoryMB: memory_mb } : {}),
      }),
      define: (cells, { goals }) => base.descriptor.define(cells, { goals, with: params }),
    },
  };
}
