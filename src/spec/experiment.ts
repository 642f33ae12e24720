/** Turns a checked spec into an Experiment: checks the size of its grid and makes its cells. */
import type { Json, JsonObject } from '../api.ts';
import { fill } from './expand.ts';
import type { Report } from './faults.ts';
import { variantsOf } from './fields.ts';
import type { GridOptions } from './grid.ts';
import { buildGrid } from './grid.ts';
import type { MapNode, Node, Span } from './node.ts';
import { child, toJson } from './node.ts';
import type { Shapes, VariantSection } from './schema.ts';
import { BASE, isVariantSection } from './schema.ts';
import { secretsOf } from './secrets.ts';
import type { Selection } from './selection.ts';
import { reportEmptyGrid } from './selection.ts';
import { fieldSchema } from './shape.ts';
import { asWritten } from './steps.ts';
import type { Experiment } from './types.ts';
import { countCells, inheritedAxes } from './variants.ts';

/**
 * The most cells that a grid may have, each counted once for every seed. Planning takes about 0.6
 * ms of processor time per cell, so a grid of this size takes a minute.
 */
const MOST_CELLS = 100_000;

export interface CheckedSpec {
  readonly file: string;
  readonly text: string;
  readonly root: MapNode;
  readonly shapes: Shapes;
  readonly selection: Selection;
  readonly commands: Experiment['commands'];
}

/** Returns undefined if the grid is too large. Other faults of the grid are reported as well. */
export function expandExperiment(
  { file, text, root, shapes, selection, commands }: CheckedSpec,
  canonical: GridOptions['canonical'],
  report: Report,
): Experiment | undefined {
  const plain = (field: string): Json =>
    fill(child(root, field), fieldSchema(shapes.root, field)) ?? null;
  const name = plain('name') as string;
  const seeds = plain('seeds') as readonly number[],
    goals = plain('stages') as readonly string[];
  const start = root.entries.get('name')?.key ?? null;
  for (const { path, span } of inheritedAxes(root, shapes))
    report(
      'inherited-axis',
      span,
      `"${path}" is an axis, and the base inherits it`,
      `each base is one training: give it a value of its own, as base.${path}`,
    );
  // The cells are counted before they are made.
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
  if (cells.length === 0 && idle.length === 0) {
    const whole = () => buildGrid({ ...options, only: [] }).cells.map(({ config }) => config);
    reportEmptyGrid(selection.only, whole, start, report);
  }
  return {
    name,
    notes: ((plain('notes') ?? '') as string).trim(),
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
    at = seeds >= perSeed ? root.entries.get('seeds')?.value.span : longestAxis(root);
  report(
    'grid-too-large',
    at ?? start,
    `the grid has ${count} cells${bySeeds}; at most ${MOST_CELLS} can be planned`,
    'shorten its axes, or divide it among several specs: they share results through the store',
  );
  return false;
}

/** Fields of a spec whose lists are not axes. */
const NO_AXES: ReadonlySet<string> = new Set(['seeds', 'stages', 'plugins', 'commands', 'env']);

/** Returns the place of the list with the most values. */
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

/** Returns the spec that is recorded: it has the same grid and needs no other file. */
function resolvedSpec(root: MapNode, shapes: Shapes): Json {
  const resolved: { [key: string]: Json } = {};
  for (const [key, schema] of Object.entries(shapes.root.properties ?? {})) {
    if (key === 'extends' || key === 'env') continue;
    if (key === 'defences' && !root.entries.has(key)) continue;
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
  variantsOf(spec, section, shapes.variants[section]).map(({ node, schema = {} }) =>
    asWritten((fill(node, schema, {}) ?? {}) as JsonObject),
  );

/**
 * Returns the base with `train` as it is written: the fields that it leaves out come from the
 * spec's `train`.
 */
function resolvedBase(base: Node | undefined, shapes: Shapes): Json | undefined {
  if (base?.kind !== 'map') return undefined;
  const train = child(base, 'train');
  return {
    poisoning: resolvedVariants(base, 'poisoning', shapes),
    adapter: resolvedVariants(base, 'adapter', shapes),
    ...(train === undefined ? {} : { train: toJson(train) }),
  };
}
