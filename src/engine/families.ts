/** Whether a model that is not on this machine yet is of a family that is read: asked of its config.json, before its weights are fetched. */
import type { ModelDescriptor, SourceContext, SourceDescriptor } from '../api.ts';
import type { Diagnostic } from '../experiment/types.ts';
import type { PlanRegistry } from '../plan/graph.ts';
import type { Plan } from '../plan/types.ts';

/** What a source's config.json says; null where nothing can be known without fetching the model. */
async function modelType(
  uri: string,
  source: SourceDescriptor,
  context: SourceContext,
  fetch: boolean,
): Promise<string | null> {
  try {
    const text = (await source.peek?.(uri, 'config.json', context, fetch)) ?? null;
    const type: unknown =
      text === null ? null : (JSON.parse(text) as { model_type?: unknown } | null)?.model_type;
    return typeof type === 'string' ? type : null;
  } catch {
    return null; // what is wrong with the source is told when it is fetched
  }
}

/**
 * @param fetch whether the source may ask its server for config.json
 * @returns a fault for each architecture of the spec that does not read this model, or `unknown` where config.json is not at hand; nothing for what is not a model, or of a source that has no `peek`
 */
export async function modelFamilyFaults(
  uri: string,
  plan: Plan,
  registry: PlanRegistry,
  source: SourceDescriptor,
  context: SourceContext,
  fetch: boolean,
): Promise<'unknown' | readonly Diagnostic[]> {
  const cells = plan.experiment.cells.filter(({ config }) => config.model.source === uri);
  if (cells.length === 0 || source.peek === undefined) return [];
  const type = await modelType(uri, source, context, fetch);
  if (type === null) return 'unknown';
  const reads = (name: string): readonly string[] | undefined =>
    (registry.get('model', name)?.descriptor as ModelDescriptor | undefined)?.modelTypes;
  const supported = registry.names('model').flatMap((name) => reads(name) ?? []);
  const other = registry.names('model').find((name) => reads(name)?.includes(type));
  const architectures = new Map(cells.map((cell) => [cell.config.model.architecture, cell]));
  return [...architectures].flatMap(([name, cell]) => {
    const own = reads(name);
    if (own === undefined || own.includes(type)) return [];
    return [
      {
        code: 'model-family',
        message: `${uri} is a "${type}" model, which the architecture "${name}" does not read`,
        range: cell.locate(['model', 'source']),
        hint:
          other === undefined
            ? `the families that are read are ${[...new Set(supported)].join(', ')}; a model plugin of your own may read another`
            : `write model.architecture: ${other}`,
      },
    ];
  });
}
