/**
 * Labels stages, as in `train attack=badnets seed=1`, and finds where their fields were written.
 */
import type { Json, JsonObject, Problem } from '../api.ts';
import { baseTitle, shortNames } from '../api/cell.ts';
import { canonical } from '../base/canonical.ts';
import { at } from '../base/lookup.ts';
import { valueAt } from '../base/record.ts';
import { isRecord } from '../base/untrusted/json.ts';
import type { ExperimentCell, SourceRange } from '../spec/types.ts';
import { nodeLabel } from './graph.ts';
import type { Plan, PlannedStage } from './types.ts';

/** The axes to name first, since the values of other axes often follow from theirs. */
const FIRST = ['poisoning.attack', 'adapter.type', 'adapter.config.peft_type'];

/**
 * In the label of a stage that is no cell's own, what stands between its name and the cells that
 * need it.
 */
export const NEEDED_BY = ' needed by';

/**
 * Returns the paths of the axes that tell cells apart, grouped by section. An axis is left out if
 * its values follow from those of the axes before it.
 */
export function tellingAxes(cells: readonly JsonObject[]): string[] {
  const telling: string[] = [];
  // For each cell, its values on all telling axes but the latest, whose values are in `last`.
  let names = cells.map(() => ''),
    last: readonly string[] = [];
  for (const path of listPaths(cells)) {
    const first = cells[0]?.[path];
    if (cells.every((cell) => cell[path] === first)) continue;
    if (last.length > 0) names = names.map((name, index) => `${name} ${at(last, index)}`);
    last = [];
    const values = cells.map((cell) => (path in cell ? canonical(cell[path]) : ''));
    if (!distinguishes(values, names)) continue;
    telling.push(path);
    last = values;
  }
  const sections = [...new Set(telling.map(sectionOf))];
  return telling.sort((a, b) => sections.indexOf(sectionOf(a)) - sections.indexOf(sectionOf(b)));
}

/** Whether there are two indexes at which `names` are equal and `values` differ. */
function distinguishes(values: readonly string[], names: readonly string[]): boolean {
  const known = new Map<string, string>();
  return names.some((name, index) => {
    const value = at(values, index),
      other = known.get(name);
    if (other === undefined) known.set(name, value);
    return other !== undefined && other !== value;
  });
}

/** Returns the paths in `FIRST`, then those of all other axes that any of the cells has. */
function listPaths(cells: readonly JsonObject[]): ReadonlySet<string> {
  const paths = new Set(FIRST);
  for (const cell of cells) for (const path in cell) paths.add(path);
  return paths;
}

/**
 * Returns a function that labels stages. A cell's own stage has its name and the cell's values:
 * `train attack=badnets`. A stage that is no cell's own, such as the evaluation of a clean twin,
 * has `needed by` between the two: `evaluate needed by attack=badnets`. The training of a base is
 * called `train of base`, or `train of training 1` in a chain. The clean run that is repeated for a
 * noise floor is called `train(reversed)`.
 * @param whole the whole experiment, if the plan covers only some of its cells (--only). A label is
 *   then the same whichever cells are chosen.
 */
export function stageLabels(plan: Plan, whole?: Whole): (stage: PlannedStage) => string {
  if (whole !== undefined) return labelsWithin(whole);
  let labels = ofWholePlans.get(plan);
  if (labels === undefined) ofWholePlans.set(plan, (labels = labelsWithin(plan.experiment)));
  return labels;
}

type Whole = Pick<Plan['experiment'], 'cells' | 'seeds'>;

const ofWholePlans = new WeakMap<Plan, (stage: PlannedStage) => string>();

/**
 * Returns what `stageLabels` does. The axes to name are those that tell the cells of `whole` apart.
 */
function labelsWithin(whole: Whole): (stage: PlannedStage) => string {
  const telling = tellingAxes(whole.cells.map(({ axes }) => axes));
  const short = shortNames(telling);
  const fields = telling.map((path) => ({ path, name: short.get(path) ?? path }));
  const seedVaries = whole.seeds.length > 1;
  const textByCell = new WeakMap<JsonObject, string>();
  /** Returns the values of `PlannedStage.cell` for a label: ` attack=badnets rank=4`. */
  const valuesOf = (cell: JsonObject): string => {
    let values = textByCell.get(cell);
    if (values === undefined) {
      values = '';
      for (const { path, name } of fields) {
        const value = cell[path];
        if (value !== undefined) values += ` ${name}=${valueText(value)}`;
      }
      textByCell.set(cell, values);
    }
    return values;
  };
  return (stage) => {
    const seed = seedVaries && stage.seed !== null ? ` seed=${stage.seed}` : '',
      cell = valuesOf(stage.cell) + seed;
    if (stage.ownLabel !== null) return nodeName(stage) + cell;
    const section = stage.section === null ? '' : ` of ${baseTitle(stage.section)}`;
    return `${nodeName(stage)}${section}${cell === '' ? '' : NEEDED_BY}${cell}`;
  };
}

/**
 * Returns what `nodeLabel` does, but writes a poisoning in `with` as its attacks:
 * `evaluate(trigger=badnets)`.
 */
function nodeName(stage: PlannedStage): string {
  const named = Object.entries(stage.with).map(([name, value]) => {
    const attacks = attacksIn(value);
    return [name, attacks === '' ? value : `${name}=${attacks}`] as const;
  });
  return nodeLabel({ kind: stage.kind, with: Object.fromEntries(named) });
}

/** Returns the names of a poisoning's attacks, `badnets+addsent`; '' for any other value. */
function attacksIn(value: unknown): string {
  if (!isRecord(value)) return '';
  const { attack, steps } = value;
  if (Array.isArray(steps)) return steps.map(attacksIn).join('+');
  return typeof attack === 'string' ? attack : '';
}

/**
 * Returns the first part of a path: `poisoning` for `poisoning.rate`; '' for a path of one part.
 */
const sectionOf = (path: string): string => path.slice(0, Math.max(0, path.indexOf('.')));
const valueText = (value: Json): string => (typeof value === 'string' ? value : canonical(value));

/**
 * Returns the place in the spec of a field of a stage's cell.
 * @param cell the cell of the grid that the stage was planned for
 * @param section the section of the spec in which the fields of the stage's cell are written
 *   (`StageRequest.section`); null if they are at the top. A field that the section lacks is at the
 *   top too.
 */
export function locateIn(
  cell: ExperimentCell,
  section: string | null,
  path: Problem['path'],
): SourceRange {
  if (section === null) return cell.locate(path);
  const steps = section.split('.');
  // Of `data`, a section may have only `data.train`, so two steps tell whether it has the field.
  const head = path.slice(0, path[0] === 'data' ? 2 : 1);
  const within = valueAt(cell.config, [...steps, ...head]);
  return cell.locate(within === undefined ? path : [...steps, ...path]);
}
