/**
 * Checks whether a model belongs to a supported family before its weights are fetched. Its
 * config.json names the family.
 */
import type { SourceContext, SourceDescriptor } from '../api.ts';
import type { Plan } from '../plan/types.ts';
import type { Diagnostic } from '../spec/types.ts';
import type { Registry } from './registry/types.ts';

/**
 * Returns `model_type` of a source's config.json, or null if it can't be known without fetching the
 * model.
 */
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
    return null; // a fault of the source is reported when it is fetched
  }
}

/**
 * @param fetch whether the source may ask its server for config.json
 * @returns a fault for each architecture of the spec that does not read this model, or `unknown` if
 *   config.json is not at hand; no fault if `uri` is not a model, or its source has no `peek`
 */
export async function modelFamilyFaults(
  uri: string,
  plan: Plan,
  registry: Registry,
  source: SourceDescriptor,
  context: SourceContext,
  fetch: boolean,
): Promise<'unknown' | readonly Diagnostic[]> {
  const cells = plan.experiment.cells.filter(({ config }) => config.model.source === uri);
  if (cells.length === 0 || source.peek === undefined) return [];
  const type = await modelType(uri, source, context, fetch);
  if (type === null) return 'unknown';
  const typesOf = (name: string): readonly string[] | undefined =>
    registry.get('model', name)?.descriptor.modelTypes;
  const supported = registry.names('model').flatMap((name) => typesOf(name) ?? []);
  const other = registry.names('model').find((name) => typesOf(name)?.includes(type));
  const architectures = new Map(cells.map((cell) => [cell.config.model.architecture, cell]));
  return [...architectures].flatMap(([name, cell]) => {
    const own = typesOf(name);
    if (own === undefined || own.includes(type)) return [];
    return [
      {
        code: 'model-family',
        message: `${uri} is a "${type}" model, which the architecture "${name}" does not read`,
        range: cell.locate(['model', 'source']),
        hint:
          other === undefined
            ? `the supported families are ${[...new Set(supported)].join(', ')}; ` +
              'a model plugin of your own may add another'
            : `write model.architecture: ${other}`,
      },
    ];
  });
}
