/**
 * Phase 1: turns a spec file into an Experiment, or returns every fault in it.
 *
 *     read + extends → --set → plugins → ${…} → axis forms → texts → schema → files → patterns → grid
 */
import type { JsonObject } from '../api.ts';
import { UserFault } from '../api.ts';
import { checkSpec, compiled } from './check.ts';
import { readCommands, resolveCommandFiles, withCommands } from './commands.ts';
import { expandExperiment } from './experiment.ts';
import type { Report } from './faults.ts';
import { gatherFaults } from './faults.ts';
import { allVariants, specsIn, variantsOf } from './fields.ts';
import { expandForms } from './forms.ts';
import { interpolate } from './interpolate.ts';
import { applyOverrides, readLayers } from './layers.ts';
import type { MapNode } from './node.ts';
import { child } from './node.ts';
import { fillTextFiles, resolveModules, resolvePaths } from './paths.ts';
import { patternFields } from './pattern.ts';
import type { Shapes } from './schema.ts';
import { variantSections } from './schema.ts';
import { checkSecrets } from './secrets.ts';
import { readSelection } from './selection.ts';
import { fieldSchema, openSchema } from './shape.ts';
import { stepFields } from './steps.ts';
import type { Experiment, LoadOptions, Result, SpecRegistry } from './types.ts';

/** The fields that say where something lies on this machine. No key may contain them. */
const NAMES_FILES = /\.(source|init_from|files)$/;

/**
 * Reads a spec file and the files that it names, and expands its grid. Fetches nothing and writes
 * nothing. A user's faults are returned as diagnostics, all at once; only internal errors are
 * thrown.
 */
export async function loadExperiment(
  file: string,
  options: LoadOptions,
): Promise<Result<Experiment>> {
  const faults = gatherFaults();
  const { report } = faults;
  const failed = (): Result<Experiment> => ({ ok: false, diagnostics: faults.diagnostics() });

  const layers = await readLayers(file, report);
  if (!layers) return failed();
  const overridden = applyOverrides(layers.root, options.sets ?? [], report);
  const { root: located, modules } = await resolveModules(overridden, report);
  const plugged = await registryFor(located, modules, options, report);
  if (!plugged) return failed();

  const registry = withCommands(plugged, located);
  const checker = compiled(registry),
    { shapes, fields } = checker;
  const interpolated = interpolate(located, { env: options.env, fields, shapes, report });
  checkSecrets(interpolated, report);
  const expanded = await fillTextFiles(expandForms(interpolated, shapes, report), shapes, report);
  const isChecked = await checkSpec(expanded, checker, faults);
  if (!isChecked) return failed();

  const root = await resolveCommandFiles(await resolvePaths(expanded, shapes, report), report);
  const known = [...patternFields(fields), ...fieldsOfSteps(root, shapes)];
  const selection = readSelection(
    root,
    allVariants(root, shapes),
    known,
    options.only ?? [],
    report,
  );
  const commands = readCommands(
    root,
    openSchema(fieldSchema(shapes.root, 'commands')) ?? {},
    plugged,
    known.filter((path) => !NAMES_FILES.test(path)),
    report,
  );
  checkDefaults(root, shapes, report);
  if (faults.count > 0) return failed();

  const value = expandExperiment(
    { file, text: layers.source.text, root, shapes, selection, commands },
    canonicalOf(registry),
    report,
  );
  return value && faults.count === 0 ? { ok: true, value } : failed();
}

/** Returns the full paths of the fields of the steps in the spec and its base. */
const fieldsOfSteps = (root: MapNode, shapes: Shapes): string[] =>
  specsIn(root).flatMap(({ prefix, root: spec }) =>
    stepFields(variantsOf(spec, 'poisoning', shapes.variants.poisoning)).map(
      (path) => prefix + path,
    ),
  );

/**
 * Reports a default plugin that is missing. Validation reports names that no plugin has, but only
 * where they are written.
 */
function checkDefaults(root: MapNode, shapes: Shapes, report: Report): void {
  const variants = allVariants(root, shapes);
  for (const section of variantSections) {
    const { defaultName, discriminator } = shapes.variants[section];
    const isMissing = variants.some(
      (variant) =>
        variant.section === section && !variant.schema && !child(variant.node, discriminator),
    );
    if (isMissing)
      report(
        'unknown-plugin',
        null,
        `there is no plugin "${defaultName}", the default of "${section}"`,
      );
  }
}

/**
 * Returns the registry with the spec's own plugins added. Returns undefined, after reporting it, if
 * one of them can't be loaded.
 * @param modules the absolute paths of the spec's own plugins
 */
async function registryFor(
  root: MapNode,
  modules: readonly string[],
  { registry }: LoadOptions,
  report: Report,
): Promise<SpecRegistry | undefined> {
  const entry = root.entries.get('plugins'),
    at = entry?.key ?? null;
  if (typeof registry !== 'function') {
    if (modules.length > 0)
      report('not-supported', at, "plugins from outside can't be loaded here");
    return registry;
  }
  try {
    return await registry(modules);
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    const { message, hint } = error;
    const items = entry?.value.kind === 'list' ? entry.value.items : [];
    // If the message names two modules that clash, the later one is to blame.
    const named = items.findLast(
      (item) => item.kind === 'scalar' && message.includes(String(item.value)),
    );
    report('bad-plugin', named?.span ?? at, message, hint);
    return undefined;
  }
}

/** Returns a function that brings an adapter (`type` and parameters) into its canonical form. */
const canonicalOf =
  ({ adapters }: SpecRegistry) =>
  (adapter: JsonObject): JsonObject => {
    const { type = null, ...params } = adapter;
    try {
      const canonical = adapters.find(({ name }) => name === type)?.canonical;
      return canonical === undefined ? adapter : { ...canonical(params), type };
    } catch {
      return adapter; // the train stage calls it again when it is planned, and reports the error
    }
  };
