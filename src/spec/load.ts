/**
 * Phase 1: turns a spec file into an Experiment, or returns every fault in it.
 *
 *     read + extends → profile → --set → plugins → ${…} → axis forms → texts → schema → files →
 *     patterns → grid → report
 */
import { type Json, type JsonObject, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { checkerFor, checkSpec } from './check.ts';
import { countCells, fill, inheritedAxes } from './choices.ts';
import { commandFiles, PLAIN_NAME, readCommands, withCommands } from './commands.ts';
import { gatherFaults, type Report } from './faults.ts';
import {
  allVariants,
  asWritten,
  basesIn,
  checkScorers,
  checkTriggers,
  listVariants,
  specsIn,
  stepFields,
} from './fields.ts';
import {
  applyOverrides,
  applyProfile,
  fillTextFiles,
  readLayers,
  resolveModules,
  resolvePaths,
  sectionPaths,
} from './files.ts';
import { expandForms } from './forms.ts';
import { buildGrid, type GridOptions } from './grid.ts';
import { checkSecrets, interpolate, secretNames } from './interpolate.ts';
import {
  child,
  descendants,
  itemsOf,
  mapEntries,
  type MapNode,
  type Node,
  type Span,
  toJson,
} from './node.ts';
import { overlayFiles } from './overlays.ts';
import { readReport } from './report.ts';
import { BASE, isVariantSection, type Shapes, type VariantSection } from './schema.ts';
import { patternFields, readSelection, reportEmptyGrid, type Selection } from './selection.ts';
import { fieldSchema, openSchema } from './shape.ts';
import type { Experiment, LoadOptions, Result, SpecRegistry } from './types.ts';

/**
 * The fields that say where something lies on this machine. No command may get them as `fields`,
 * because its key must not depend on such places.
 */
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
  const profiled = applyProfile(layers.root, options.profile, report);
  if (!profiled) return failed();
  const overridden = applyOverrides(profiled, options.sets ?? [], report);
  const { root: located, modules } = await resolveModules(overridden, report);
  const plugged = await registryFor(located, modules, options, report);
  if (!plugged) return failed();

  const registry = withTasks(withCommands(plugged, located), located, report);
  const checker = checkerFor(registry),
    { shapes, fields } = checker;
  const interpolated = interpolate(located, { env: options.env, fields, shapes, report });
  checkSecrets(interpolated, shapes, report);
  const expanded = await fillTextFiles(expandForms(interpolated, shapes, report), shapes, report);
  if (!(await checkSpec(expanded, checker, faults))) return failed();

  const paths = [
    ...sectionPaths(expanded, shapes),
    ...commandFiles(expanded).map((file) => [file, 'file:'] as const),
    ...overlayFiles(expanded).map((file) => [file, ''] as const),
  ];
  const root = await resolvePaths(expanded, paths, report);
  const bases = basesIn(root),
    ofBase = `${BASE}.`;
  const known = [
    ...patternFields(fields).flatMap((field) =>
      bases.length > 0 && field.startsWith(ofBase)
        ? bases.map(({ prefix }) => prefix + field.slice(ofBase.length))
        : [field],
    ),
    ...specsIn(root).flatMap(({ prefix, root: spec }) =>
      stepFields(listVariants(spec, 'poisoning', shapes)).map((path) => prefix + path),
    ),
  ];
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
  if (faults.count() > 0) return failed();

  const made = expandGrid(root, shapes, selection, makeCanonical(registry), report);
  if (made === undefined || faults.count() > 0) return failed();
  const { goals, whole, notes, ...grid } = made;
  const warnings = gatherFaults();
  checkScorers(root, whole, warnings.report);
  const entries = await readReport(
    root,
    known,
    { goals, whole, ...registry },
    report,
    warnings.report,
  );
  if (faults.count() > 0) return failed();
  return {
    ok: true,
    value: {
      ...grid,
      goals,
      notes:
        `${options.profile === undefined ? '' : `Profile ${options.profile}.\n`}${notes}`.trim(),
      file,
      text: layers.source.text,
      commands,
      secrets: secretNames(root),
      resolved: resolvedSpec(root, shapes),
      ...defined({ report: entries }),
      warnings: warnings.diagnostics().map((one) => ({ ...one, warning: true as const })),
    },
  };
}

/** Metrics of `evaluate` that are named for two scorers: `agreement.A.B`. */
const AGREEMENT = ['agreement', 'kappa'];

/**
 * Returns the registry with the names under `data.tasks`. Reports names that a task can't have, and
 * keeps them.
 */
function withTasks(registry: SpecRegistry, root: MapNode, report: Report): SpecRegistry {
  const node = child(child(root, 'data'), 'tasks');
  if (node?.kind !== 'map') return registry;
  const metrics = new Set(registry.metrics);
  for (const [name, { key }] of node.entries) {
    if (!PLAIN_NAME.test(name))
      report(
        'bad-name',
        key,
        `"${name}" is no name of a task: its metrics would begin with it`,
        'lower-case letters, digits and dashes',
      );
    else if (metrics.has(`evaluate.${name}`) || AGREEMENT.includes(name))
      report(
        'bad-name',
        key,
        `a task can't be called "${name}": a metric of evaluate is`,
        'give it another name',
      );
  }
  return { ...registry, tasks: [...node.entries.keys()] };
}

/**
 * Returns the registry with the spec's own plugins added; undefined, after reporting it, if one of
 * them can't be loaded. If `options.registry` is no function, it is returned as it is, and any
 * plugins of the spec's own are reported.
 * @param modules the absolute paths of these plugins
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
    // If the message names two modules that clash, the later one is reported.
    const named = itemsOf(entry?.value).findLast(
      (item) => item.kind === 'scalar' && message.includes(String(item.value)),
    );
    report('bad-plugin', named?.span ?? at, message, hint);
    return undefined;
  }
}

/**
 * Returns `GridOptions.canonical`, a function that returns one form for all ways to write an
 * adapter. An adapter is returned as it is if its plugin has no `canonical`, or `canonical` throws.
 */
const makeCanonical =
  ({ adapters }: SpecRegistry) =>
  (adapter: JsonObject): JsonObject => {
    const { type = null, ...params } = adapter;
    try {
      const canonical = adapters.find(({ name }) => name === type)?.canonical;
      return canonical === undefined ? adapter : { ...canonical(params), type };
    } catch {
      return adapter; // the train stage calls `canonical` when planned, and reports this error
    }
  };

/**
 * The most cells of a grid, over all seeds. A cell takes 0.6 ms to plan, so this many take a
 * minute.
 */
const MOST_CELLS = 100_000;

/**
 * Returns the grid and the fields of the spec that are no part of cells. Reports faults; undefined
 * if the grid is too large. `whole` returns every cell, also those that `--only` leaves out.
 */
function expandGrid(
  root: MapNode,
  shapes: Shapes,
  selection: Selection,
  canonical: GridOptions['canonical'],
  report: Report,
) {
  /** Returns a top-level field with defaults filled in; null if it has no value. */
  const fieldValue = (field: string): Json =>
    fill(child(root, field), fieldSchema(shapes.root, field)) ?? null;
  const name = fieldValue('name') as string,
    seeds = fieldValue('seeds') as readonly number[];
  const start = root.entries.get('name')?.key ?? null;
  for (const { path, prefix, span } of inheritedAxes(root, shapes))
    report(
      'inherited-axis',
      span,
      `"${path}" is an axis, and the base inherits it`,
      `each base is one training: give it a value of its own, as ${prefix}${path}`,
    );
  checkTriggers(root, shapes, report);
  // Counted first, since a grid that is too large would not fit into memory.
  if (!isWithinLimit(root, countCells(root, shapes), seeds.length, start, report)) return undefined;

  const options: GridOptions = { root, shapes, name, seeds, canonical, ...selection };
  const { cells, idle } = buildGrid(options);
  for (const { at } of idle)
    report(
      'matches-nothing',
      at,
      'this matches no cell of the grid',
      'compare its values with those of the axes',
    );
  const whole = () =>
    selection.only.length === 0 ? cells : buildGrid({ ...options, only: [] }).cells;
  if (cells.length === 0 && idle.length === 0)
    reportEmptyGrid(selection.only, () => whole().map(({ config }) => config), start, report);
  return {
    name,
    notes: (fieldValue('notes') ?? '') as string,
    goals: fieldValue('stages') as readonly string[],
    keep: (fieldValue('keep') ?? {}) as Experiment['keep'],
    seeds: seeds.filter((seed) => cells.some(({ config }) => config.seed === seed)),
    cells,
    whole,
  };
}

/**
 * Whether a grid is small enough to be planned. If it is not, reports that at its longest axis.
 * @param start the place of the spec's `name`, where it is reported if no axis is found
 */
function isWithinLimit(
  root: MapNode,
  perSeed: number,
  seeds: number,
  start: Span | null,
  report: Report,
): boolean {
  const count = perSeed * seeds;
  if (count <= MOST_CELLS) return true;
  const bySeeds = seeds === 1 ? '' : ` (${perSeed} at ${seeds} seeds)`,
    at = seeds >= perSeed ? child(root, 'seeds')?.span : longestAxis(root);
  report(
    'grid-too-large',
    at ?? start,
    `the grid has ${count} cells${bySeeds}; at most ${MOST_CELLS} can be planned`,
    'shorten its axes, or divide it among several specs: they share results through the store',
  );
  return false;
}

const FIELDS_WITHOUT_AXES = ['seeds', 'stages', 'plugins', 'commands', 'env', 'report'];

/**
 * Returns the place of the longest list of scalars outside FIELDS_WITHOUT_AXES; undefined if no
 * such list has two items.
 */
function longestAxis(root: MapNode): Span | undefined {
  const sections = mapEntries(root, (value, key) =>
    FIELDS_WITHOUT_AXES.includes(key) ? undefined : value,
  );
  let longest: Node | undefined,
    most = 1;
  for (const node of descendants(sections)) {
    if (node.kind !== 'list' || node.items.length <= most) continue;
    if (!node.items.every(({ kind }) => kind === 'scalar')) continue;
    longest = node;
    most = node.items.length;
  }
  return longest?.span;
}

/**
 * Returns the spec as a run records it, with everything filled in. It gives the same grid without
 * the files that the spec extends. It lacks `extends`, `env` and `profiles`, which are filled in,
 * and `defences` and `base` if they are not written.
 */
function resolvedSpec(root: MapNode, shapes: Shapes): Json {
  const resolved: { [key: string]: Json } = {};
  for (const [key, schema] of Object.entries(shapes.root.properties ?? {})) {
    if (['extends', 'env', 'profiles'].includes(key)) continue;
    if (key === 'defences' && !root.entries.has(key)) continue;
    const value =
      key === BASE
        ? resolvedBases(root, shapes)
        : isVariantSection(key)
          ? resolvedVariants(root, key, shapes)
          : fill(child(root, key), schema);
    if (value !== undefined) resolved[key] = value;
  }
  return resolved;
}

const resolvedVariants = (spec: MapNode, section: VariantSection, shapes: Shapes): Json =>
  listVariants(spec, section, shapes).map(({ node, schema = {} }) =>
    asWritten((fill(node, schema, {}) ?? {}) as JsonObject),
  );

/**
 * Returns `base` as a run records it; undefined if there is none. The `train` of a base stays as
 * written: whoever reads the record merges that `train` over the spec's own again.
 */
function resolvedBases(root: MapNode, shapes: Shapes): Json | undefined {
  const resolved = basesIn(root).map(({ root: base }) => ({
    ...(toJson(base) as JsonObject),
    poisoning: resolvedVariants(base, 'poisoning', shapes),
    adapter: resolvedVariants(base, 'adapter', shapes),
  }));
  return child(root, BASE)?.kind === 'list' ? resolved : resolved[0];
}
