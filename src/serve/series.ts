/** A curve of any length, kept in few points. */
import type { Curve } from './wire.ts';

export interface Series {
  add(step: number, value: number): void;
  curve(name: string): Curve;
}

/** @param most the most points that are kept, at least 2; beyond it every second one is dropped */
export function createSeries(most = 400): Series {
  let points: [step: number, value: number][] = [],
    /** One point in this many is kept. */
    stride = 1,
    seen = 0,
    last: [step: number, value: number] | null = null;
  return {
    add(step, value) {
      if (!Number.isFinite(step) || !Number.isFinite(value)) return;
      if (last !== null && step <= last[0]) {
        // The training began again, or resumed from a saved state.
        points = points.filter(([at]) => at < step);
        seen = points.length * stride;
      }
      last = [step, value];
      if (seen++ % stride === 0) points.push(last);
      if (points.length <= most) return;
      points = points.filter((_, i) => i % 2 === 0);
      stride *= 2;
    },
    curve: (name) => ({
      name,
      points: last === null || points.at(-1) === last ? points : [...points, last],
    }),
  };
}

/** Curves by name, in the order in which they begin. */
export interface Curves {
  add(name: string, step: number, value: number): void;
  all(): readonly Curve[];
}

const MOST_CURVES = 8;

export function createCurves(): Curves {
  const curves = new Map<string, Series>();
  return {
    add(name, step, value) {
      let series = curves.get(name);
      if (series === undefined) {
        if (curves.size >= MOST_CURVES) return;
        series = createSeries();
        curves.set(name, series);
      }
      series.add(step, value);
    },
    all: () => [...curves].map(([name, series]) => series.curve(name)),
  };
}
