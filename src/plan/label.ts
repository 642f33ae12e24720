/** Stages as people read them: `train attack=badnets type=lora rank=16 seed=1`. */
import type { Json, JsonObject } from '../api.ts';
import { canonical } from './canonical.ts';
import { nodeLabel } from './graph.ts';
import type { Plan, PlannedStage, StageId } from './types.ts';

const BASE = 'base.';
/** What tells variants apart comes first; what follows from it need not be said. */
const FIRST = ['poisoning.attack', 'adapter.type'];

/** In the label of a stage that is not a cell's own: stands before what names its cells. */
export const NEEDED_BY = ' needed by';

/** The axes that tell cells apart: each is left out whose value follows from those before it. */
export function tellingAxes(cells: readonly JsonObject[]): string[] {
  const paths = [...new Set([...FIRST, ...cells.flatMap((cell) => Object.keys(cell))])];
  const text = (cell: JsonObject, path: string): string =>
    path in cell ? canonical(cell[path]) : '';
  let names = cells.map(() => '');
  const telling: string[] = [];
  for (const path of paths) {
    const values = new Map<string, string>();
    const tells = cells.some((cell, i) => {
      const value = text(cell, path),
        known = values.get(names[i]!);
      if (known === undefined) values.set(names[i]!, value);
      return known !== undefined && known !== value;
    });
    if (!tells) continue;
    telling.push(path);
    names = names.map((name, i) => `${name} ${text(cells[i]!, path)}`);
  }
  const sections = [...new Set(telling.map(sectionOf))];
  return telling.sort((a, b) => sections.indexOf(sectionOf(a)) - sections.indexOf(sectionOf(b)));
}

/** The last part of each path, or as many as tell it from the others; those of the base say so. */
export function shortNames(paths: readonly string[]): Map<string, string> {
  const bases = paths.filter((path) => path.startsWith(BASE));
  if (bases.length > 0) {
    const own = shortNames(paths.filter((path) => !path.startsWith(BASE))),
      of = shortNames(bases.map((path) => path.slice(BASE.length)));
    return new Map([
      ...own,
      ...bases.map((path) => [path, BASE + of.get(path.slice(BASE.length))!] as const),
    ]);
  }
  const tail = (path: string, n: number): string => path.split('.').slice(-n).join('.');
  return new Map(
    paths.map((path) => {
      // A step's field says whose it is: `badnets.rate`.
      let n = path.startsWith('poisoning.steps.') ? path.split('.').length - 2 : 1;
      while (
        n < path.split('.').length &&
        paths.some((other) => other !== path && tail(other, n) === tail(path, n))
      )
        n++;
      return [path, tail(path, n)];
    }),
  );
}

/**
 * A stage that is not a cell's own, such as a clean twin's evaluation, is `needed by` the cells that read it; a base's training is one `of base needed by` them,
 * and the clean run that is repeated for a noise floor `train(reversed) needed by` them.
 * @param whole what its cells are told apart in, where the plan is of a part (--only): the names are the same for any part then
 */
export function stageLabels(
  plan: Plan,
  whole: Pick<Plan['experiment'], 'cells' | 'seeds'> = plan.experiment,
): (stage: PlannedStage) => string {
  const telling = tellingAxes(whole.cells.map(({ axes }) => axes));
  const short = shortNames(telling);
  const seedVaries = whole.seeds.length > 1;
  const own = new Map<StageId, string>();
  for (const { stages } of plan.cellStages)
    for (const [name, id] of Object.entries(stages)) own.set(id, name);
  return (stage) => {
    const cell = [
      ...telling
        .filter((path) => path in stage.cell)
        .map((path) => `${short.get(path)!}=${show(stage.cell[path]!)}`),
      ...(seedVaries && stage.seed !== null ? [`seed=${stage.seed}`] : []),
    ];
    return [
      own.get(stage.id) ??
        `${nodeLabel(stage)}${stage.section === null ? '' : ` of ${stage.section}`}${cell.length > 0 ? NEEDED_BY : ''}`,
      ...cell,
    ].join(' ');
  };
}

const sectionOf = (path: string): string => path.slice(0, Math.max(0, path.indexOf('.')));
const show = (value: Json): string => (typeof value === 'string' ? value : canonical(value));
