/**
 * Phase 1: a spec file → an Experiment, or every fault in it.
 *
 *     read + extends → --set → ${…} → axis forms → schema → files ─▶ grid
 */
import type { Cell, Json, JsonObject, JsonSchema } from '../api.ts';
import { JOINT, UserFault } from '../api.ts';
import { buildGrid } from './cells.ts';
import { readCommands, resolveCommandFiles, withCommands } from './commands.ts';
import { fill } from './expand.ts';
import { explain } from './explain.ts';
import type { Faults, Report } from './faults.ts';
import { gatherFaults } from './faults.ts';
import type { Variant } from './fields.ts';
import { specsIn, variantsOf } from './fields.ts';
import { expandForms } from './forms.ts';
import { interpolate, secretsOf } from './interpolate.ts';
import { readLayers } from './layers.ts';
import type { MapNode, Node, Span } from './node.ts';
import { child, toJson } from './node.ts';
import { applyOverrides } from './overrides.ts';
import { resolveModules, resolvePaths } from './paths.ts';
import type { Pattern } from './pattern.ts';
import {
  patternFields,
  readOnly,
  readPattern,
  readPatterns,
  readTags,
  valuesSeen,
} from './pattern.ts';
import type { Shapes, VariantSection } from './schema.ts';
import { BASE, composeFrom, fieldsOf, isVariantSection, shapesOf } from './schema.ts';
import { checkSecrets } from './secrets.ts';
import { isSound } from './sound.ts';
import { stepFields, written } from './steps.ts';
import type { Experiment, LoadOptions, Result, SpecRegistry } from './types.ts';
import type { Violation } from './validate.ts';
import { countCells, inheritedAxes } from './variants.ts';

/** Cells times seeds. Planning takes about 0.6 ms of processor time a cell, so this is a minute of it; more is a slip. */
const MOST_CELLS = 100_000;
/** Fields that say where something lies on this machine, which no key may hold. */
const NAMES_FILES = /\.(source|init_from|files)$/;

/**
 * Reads a spec file and all it names, and expands its grid. Nothing is fetched and nothing is written.
 * A user's faults come back as diagnostics, all at once; what is thrown is an internal error.
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
  const { shapes, fields, violationsOf } = compiled(registry);
  const interpolated = interpolate(located, { env: options.env, fields, shapes, report });
  checkSecrets(interpolated, report);
  const expanded = expandForms(interpolated, shapes, report);
  const violations = await violationsOf(expanded);
  if (typeof violations === 'string') {
    report(
      'bad-plugin',
      child(located, 'plugins')?.span ?? null,
      violations,
      'its `params` must be a JSON Schema, draft 7',
    );
    return failed();
  }
  explainViolations(violations, expanded, shapes, fields, faults);
  const root = await resolveCommandFiles(await resolvePaths(expanded, shapes, report), report);
  const known = [
    ...patternFields(fields),
    ...specsIn(root).flatMap(({ prefix, root: spec }) =>
      stepFields(variantsOf(spec, 'poisoning', shapes.variants.poisoning)).map(
        (path) => prefix + path,
      ),
    ),
  ];
  const patterns = readAllPatterns(root, shapes, known, options, report);
  const commands = readCommands(
    root,
    shapes.root.properties!['commands']!,
    plugged,
    known.filter((path) => !NAMES_FILES.test(path)),
    report,
  );
  checkDefaults(root, shapes, report);
  if (faults.count > 0) return failed();

  const value = expandExperiment(
    file,
    layers.source.text,
    root,
    shapes,
    patterns,
    commands,
    canonicalOf(registry),
    report,
  );
  return value && faults.count === 0 ? { ok: true, value } : failed();
}

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
    // Of two that clash, the later.
    const named =
      entry?.value.kind === 'list'
        ? entry.value.items.findLast(
            (item) => item.kind === 'scalar' && error.message.includes(String(item.value)),
          )
        : undefined;
    report('bad-plugin', named?.span ?? at, error.message, error.hint);
    return undefined;
  }
}

/** An adapter, `type` and parameters, in the one form that all its names share. */
const canonicalOf =
  ({ adapters }: SpecRegistry) =>
  (adapter: JsonObject): JsonObject => {
    const { type, ...params } = adapter;
    try {
      const canonical = adapters.find(({ name }) => name === type)?.canonical;
      return canonical === undefined ? adapter : { ...canonical(params), type: type! };
    } catch {
      return adapter; // a fault of the plugin, which the train stage's definition meets again and tells
    }
  };

interface Compiled {
  readonly shapes: Shapes;
  readonly fields: ReadonlyMap<string, Json | undefined>;
  /** In place of violations, what is wrong with the schema that a plugin from outside brings. */
  readonly violationsOf: (root: MapNode) => Promise<Violation[] | string>;
}

const known = new WeakMap<SpecRegistry, Compiled>();

/** Once a registry and set of plugins. */
function compiled(registry: SpecRegistry): Compiled {
  const found = known.get(registry);
  if (found) return found;
  const shapes = shapesOf(registry);
  const validators = new Map<string, (value: unknown) => Violation[]>();
  const violationsOf = async (root: MapNode): Promise<Violation[] | string> => {
    const used = new Set(allVariants(root, shapes).flatMap(({ name }) => name.split(JOINT)));
    const schema = composeFrom(shapes, (plugin) => used.has(plugin)),
      value = toJson(root);
    if (isSound(schema, value)) return [];
    const { createValidator } = await import('./validate.ts');
    const key = [...used].sort().join(' ');
    let validator = validators.get(key);
    if (!validator) {
      try {
        validator = createValidator(schema);
      } catch (error) {
        return badSchema(shapes, used, createValidator) ?? Promise.reject(error);
      }
      validators.set(key, validator);
    }
    return validator(value);
  };
  const fresh = { shapes, fields: fieldsOf(shapes), violationsOf };
  known.set(registry, fresh);
  return fresh;
}

/** Which of the named plugins has parameters whose schema does not compile; null: none has. */
function badSchema(
  { variants }: Shapes,
  used: ReadonlySet<string>,
  compile: (schema: JsonSchema) => unknown,
): string | null {
  for (const [kind, { byName }] of [
    ['attack', variants.poisoning],
    ['adapter', variants.adapter],
  ] as const) {
    for (const name of used) {
      const shape = byName.get(name);
      try {
        if (shape) compile(shape);
      } catch (error) {
        return `the parameters of the ${kind} "${name}" are no JSON Schema: ${(error as Error).message}`;
      }
    }
  }
  return null;
}

function explainViolations(
  violations: readonly Violation[],
  root: MapNode,
  shapes: Shapes,
  fields: Compiled['fields'],
  faults: Faults,
): void {
  // What an earlier phase said of a place stands: a placeholder that could not be filled is also no number.
  const earlier = new Set<Node>();
  const note = (node: Node): void => {
    if (faults.has(node.span)) earlier.add(node);
    if (node.kind === 'list') node.items.forEach(note);
    if (node.kind === 'map') for (const { value } of node.entries.values()) note(value);
  };
  if (faults.count > 0) note(root);
  const context = {
    shapes,
    fields,
    report: faults.report,
    isReported: (node: Node) => earlier.has(node),
  };
  for (const violation of violations) explain(violation, root, context);
}

/** Of the cell's training and of its base's. */
const allVariants = (
  root: MapNode,
  shapes: Shapes,
): (Variant & { readonly section: VariantSection })[] =>
  specsIn(root).flatMap(({ root: spec }) =>
    (['poisoning', 'adapter'] as const).flatMap((section) =>
      variantsOf(spec, section, shapes.variants[section]).map((variant) => ({
        ...variant,
        section,
      })),
    ),
  );

/** A plugin that is named is validation's to judge; one that is not must be there all the same. */
function checkDefaults(root: MapNode, shapes: Shapes, report: Report): void {
  for (const section of ['poisoning', 'adapter'] as const) {
    const shape = shapes.variants[section];
    const isMissing = allVariants(root, shapes).some(
      (variant) =>
        variant.section === section && !variant.schema && !child(variant.node, shape.discriminator),
    );
    if (isMissing)
      report(
        'unknown-plugin',
        null,
        `there is no plugin "${shape.defaultName}", the default of "${section}"`,
      );
  }
}

interface Patterns {
  readonly include: readonly Pattern[];
  readonly exclude: readonly Pattern[];
  readonly only: readonly Pattern[];
  readonly whenOf: (variant: MapNode | undefined) => Pattern | null;
}

function readAllPatterns(
  root: MapNode,
  shapes: Shapes,
  known: readonly string[],
  options: LoadOptions,
  report: Report,
): Patterns {
  const tags = readTags(root, known, report);
  const whens = new Map<Node, Pattern>();
  for (const { node } of allVariants(root, shapes)) {
    const when = child(node, 'when'),
      pattern = when && readPattern(when, known, report);
    if (when && pattern) whens.set(when, pattern);
  }
  const whenOf = (variant: MapNode | undefined): Pattern | null => {
    const when = child(variant, 'when');
    return (when && whens.get(when)) ?? null;
  };
  return {
    include: readPatterns(root, 'include', known, report),
    exclude: readPatterns(root, 'exclude', known, report),
    only: (options.only ?? []).flatMap((argument) => readOnly(argument, tags, known, report) ?? []),
    whenOf,
  };
}

function expandExperiment(
  file: string,
  text: string,
  root: MapNode,
  shapes: Shapes,
  patterns: Patterns,
  commands: Experiment['commands'],
  canonical: (adapter: JsonObject) => JsonObject,
  report: Report,
): Experiment | undefined {
  const { root: schema } = shapes;
  const plain = (field: string): Json =>
    fill(child(root, field), schema.properties![field]!) ?? null;
  const name = String(plain('name'));
  const seeds = plain('seeds') as readonly number[],
    goals = plain('stages') as readonly string[];
  const start = root.entries.get('name')?.key ?? null;
  for (const { path, span } of inheritedAxes(root, shapes)) {
    report(
      'inherited-axis',
      span,
      `"${path}" is an axis, and the base inherits it`,
      `each base is one training: give it a value of its own, as base.${path}`,
    );
  }
  // Counted, not made: neither axes nor seeds are multiplied out before this.
  const perSeed = countCells(root, shapes),
    count = perSeed * seeds.length;
  if (count > MOST_CELLS) {
    report(
      'grid-too-large',
      (seeds.length >= perSeed ? root.entries.get('seeds')?.value.span : longestAxis(root)) ??
        start,
      `the grid has ${count} cells${seeds.length === 1 ? '' : ` (${perSeed} at ${seeds.length} seeds)`}; at most ${MOST_CELLS} are planned`,
      'shorten its axes, or split them over several specs: what one has run, another finds in the store',
    );
    return undefined;
  }
  const { cells, idle } = buildGrid({ root, shapes, name, seeds, canonical, ...patterns });
  for (const { at } of idle)
    report(
      'matches-nothing',
      at,
      'this matches no cell of the grid',
      'compare its values with those of the axes',
    );
  if (cells.length === 0 && idle.length === 0)
    reportEmpty(
      patterns.only,
      () =>
        buildGrid({ root, shapes, name, seeds, canonical, ...patterns, only: [] }).cells.map(
          ({ config }) => config,
        ),
      start,
      report,
    );
  return {
    name,
    file,
    text,
    commands,
    secrets: secretsOf(root),
    goals,
    seeds: seeds.filter((seed) => cells.some(({ config }) => config.seed === seed)),
    cells,
    resolved: resolvedSpec(root, shapes),
  };
}

/** Sections whose lists may be axes. */
const NO_AXES: ReadonlySet<string> = new Set(['seeds', 'stages', 'plugins', 'commands', 'env']);

/** Where the list with the most values stands. */
function longestAxis(root: MapNode): Span | undefined {
  let longest: Node | undefined,
    most = 1;
  const walk = (node: Node): void => {
    if (node.kind === 'map') for (const { value } of node.entries.values()) walk(value);
    if (node.kind !== 'list') return;
    if (node.items.length > most && node.items.every(({ kind }) => kind === 'scalar')) {
      longest = node;
      most = node.items.length;
    }
    node.items.forEach(walk);
  };
  for (const [key, { value }] of root.entries) if (!NO_AXES.has(key)) walk(value);
  return longest?.span;
}

/** @param whole the cells that the spec leaves, whatever --only says */
function reportEmpty(
  only: Patterns['only'],
  whole: () => readonly Cell[],
  start: Span | null,
  report: Report,
): void {
  const cells = only.length > 0 ? whole() : [];
  if (cells.length === 0) {
    report('empty-grid', start, 'no cell is left', 'include, exclude and when leave nothing over');
    return;
  }
  const idle = only.filter((pattern) => !cells.some((cell) => pattern.matches(cell)));
  for (const pattern of idle)
    report('empty-grid', pattern.at, 'no cell matches this', valuesSeen(pattern, cells));
  if (idle.length === 0)
    report(
      'empty-grid',
      only.at(-1)!.at,
      'no cell matches every --only',
      'each matches some cell by itself',
    );
}

/** The spec as it is run: itself a spec, that needs no other file and means the same grid. */
function resolvedSpec(root: MapNode, shapes: Shapes): Json {
  const resolved: { [key: string]: Json } = {};
  for (const [key, schema] of Object.entries(shapes.root.properties!)) {
    if (key === 'extends' || key === 'env') continue;
    const value =
      key === BASE
        ? resolvedBase(child(root, BASE), shapes)
        : isVariantSection(key)
          ? resolvedVariants(root, key, shapes)
          : fill(child(root, key), schema);
    if (value !== undefined) resolved[key] = value;
  }
  return resolved;
}

const resolvedVariants = (spec: MapNode, section: VariantSection, shapes: Shapes): Json =>
  variantsOf(spec, section, shapes.variants[section]).map((variant) =>
    written((fill(variant.node, variant.schema!, {}) ?? {}) as JsonObject),
  );

/** Its `train` as it is written: what it leaves out comes from the spec's. */
function resolvedBase(base: Node | undefined, shapes: Shapes): Json | undefined {
  if (base?.kind !== 'map') return undefined;
  const train = child(base, 'train');
  return {
    poisoning: resolvedVariants(base, 'poisoning', shapes),
    adapter: resolvedVariants(base, 'adapter', shapes),
    ...(train === undefined ? {} : { train: toJson(train) }),
  };
}
