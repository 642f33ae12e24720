/** What the captions of all figures explain: hollow points, and what there was no room for. */
import type { Condition } from '../conditions.ts';
import { predictsOneClass, writesAnswers } from '../evidence.ts';
import { plural } from '../format.ts';

/** Returns the seeds whose models predict one class only. Their points are hollow. */
export const oneClassSeeds = ({ cells }: Condition): ReadonlySet<number> =>
  new Set(cells.filter(predictsOneClass).map(({ seed }) => seed));

export const hollowNote = (conditions: readonly Condition[]): string =>
  conditions.some((condition) => oneClassSeeds(condition).size > 0)
    ? ` Hollow points: models that ${
        conditions.some(({ cells }) => cells.some(writesAnswers))
          ? 'write one text only'
          : 'predict one class only'
      }.`
    : '';

/** Says how many of something a figure had no room for. */
export function leftOut(count: number, noun: string): string {
  if (count <= 0) return '';
  const verb = count === 1 ? 'is' : 'are';
  return ` ${plural(count, `more ${noun}`)} ${verb} left out of this figure.`;
}
