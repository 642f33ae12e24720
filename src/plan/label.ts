/** Stages as people read them: `train attack=badnets rank=16 seed=1`, with the axes that vary over the grid only. */
import type { Json } from '../api.ts';
import { canonical } from './canonical.ts';
import type { Plan, PlannedStage } from './types.ts';

export function stageLabels(plan: Plan): (stage: PlannedStage) => string {
  const values = new Map<string, Set<string>>();
  for (const { axes } of plan.experiment.cells) {
    for (const [path, value] of Object.entries(axes)) {
      const seen = values.get(path);
      if (seen) seen.add(canonical(value)); else values.set(path, new Set([canonical(value)]));
    }
  }
  // An axis that some cells lack (another adapter's rank) tells cells apart by standing there.
  const varying = [...values].filter(([path, seen]) => seen.size > 1 || plan.experiment.cells.some(({ axes }) => !(path in axes))).map(([path]) => path);
  // Cells bring their axes at different times (the first has no rank of poison): keep those of a section together.
  const sections = [...new Set(varying.map(sectionOf))];
  varying.sort((a, b) => sections.indexOf(sectionOf(a)) - sections.indexOf(sectionOf(b)));
  const short = shortNames(varying);
  const seedVaries = plan.experiment.seeds.length > 1;
  return (stage) => [
    stage.kind,
    ...varying.filter((path) => path in stage.cell).map((path) => `${short.get(path)!}=${show(stage.cell[path]!)}`),
    ...(seedVaries && stage.seed !== null ? [`seed=${stage.seed}`] : []),
  ].join(' ');
}

const sectionOf = (path: string): string => path.slice(0, Math.max(0, path.indexOf('.')));
const show = (value: Json): string => (typeof value === 'string' ? value : canonical(value));

/** The last part of each path, or as many as tell it from the others. */
export function shortNames(paths: readonly string[]): Map<string, string> {
  const tail = (path: string, n: number): string => path.split('.').slice(-n).join('.');
  return new Map(paths.map((path) => {
    let n = 1;
    while (n < path.split('.').length && paths.some((other) => other !== path && tail(other, n) === tail(path, n))) n++;
    return [path, tail(path, n)];
  }));
}
