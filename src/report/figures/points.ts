/** Points of a figure: how their places are named, and which points share one. */
import type { FigureEntry } from '../../api/report.ts';
import { UserFault } from '../../base/fault.ts';
import type { RowCount } from '../evidence.ts';
import { distinct, groupBy } from '../groups.ts';
import { isName, labelIn, type Name, valueName } from './axis.ts';
import { joinLabels, keyed, varies } from './encode.ts';
import type { Measure, Subject, Value } from './measure.ts';

/** A number of a cell at its place: a panel (`row`, `column`), a line in it, and x. */
export interface Point extends Omit<Value, 'x'> {
  readonly subject: Subject;
  readonly measure: Measure;
  /** The metric of the value: the measure's, or that of a reference beside it. */
  readonly metric: string;
  readonly row: string;
  readonly column: string;
  readonly line: string;
  /** Null for a level across the whole axis, as of full fine-tuning, which has no rank. */
  readonly x: number | string | null;
  /** On how many rows the number was measured, if other cells have it on more; null if none has. */
  readonly fewerRows: RowCount | null;
}

type Named = Pick<Point, 'subject' | 'measure' | 'seed'>;
/** Returns what a field calls a point: its metric, kernel, seed, label or value on an axis. */
export const fieldText = (field: string, { subject, measure, seed }: Named): string => {
  if (field === 'metric') return measure.label;
  if (field === 'kernel') return measure.kernel ?? '';
  if (field === 'seed') return `seed ${seed}`;
  return isName(field) ? labelIn(subject.labels, field) : valueName(subject.condition, field);
};
export const joinedNames = (fields: readonly string[], point: Named): string =>
  joinLabels(...distinct(fields.map((field) => fieldText(field, point))));

export const placeKey = ({ row, column, line, x, measure }: Point): string =>
  keyed(row, column, line, x, measure.field);
export const subjectKey = ({ condition, full }: Subject): string => keyed(condition.key, full?.key);

/** Returns the groups of points that share a place although their conditions differ. */
const clashesIn = (points: readonly Point[]): readonly (readonly Point[])[] =>
  [...groupBy(points, placeKey).values()].filter((group) =>
    varies(group.map(({ subject }) => subjectKey(subject))),
  );

export const TELLING: readonly Name[] = ['adapter', 'attack', 'setting'];

/** Returns which of the labels in `TELLING` differ between conditions that share a place. */
export const tellingApart = (points: readonly Point[]): readonly Name[] => {
  const clashes = clashesIn(points);
  return TELLING.filter((name) =>
    clashes.some((group) => varies(group.map(({ subject }) => labelIn(subject.labels, name)))),
  );
};

/**
 * Whether any line has attacks on different trainings, such as a base and the cell itself, whose
 * doses and triggers differ.
 */
export const hasMixedLine = (points: readonly Point[]): boolean =>
  [...groupBy(points, ({ row, column, line }) => keyed(row, column, line)).values()].some(
    (line) => {
      const attacked = line.filter(({ subject }) => subject.condition.family !== 'none');
      return varies(attacked.map(({ subject }) => subject.condition.ofBase ?? ''));
    },
  );

/** Leaves out labels that all points share; if that leaves no field, keeps the first. */
export function withoutConstant(
  fields: readonly string[],
  points: readonly Point[],
): readonly string[] {
  const telling = fields.filter(
    (field) => !isName(field) || varies(points.map((point) => fieldText(field, point))),
  );
  return telling.length > 0 ? telling : fields.slice(0, 1);
}

/** How a figure writes the names of one kind, such as those of its panels. */
export interface Written {
  /** What all names have in common, for the caption: `badnets`; '' for nothing. */
  readonly shared: string;
  /** Returns `rate 0.1` for `badnets, rate 0.1`. */
  readonly short: (name: string) => string;
}

/**
 * Finds the parts that all names have. The parts stay in the names if a name would be empty or
 * equal to another, or if any name has a part twice, such as the rate of two attacks.
 */
export function shortened(all: readonly string[]): Written {
  const names = distinct(all);
  const [first = [], ...others] = names.map((name) => name.split(/, | · /));
  const shared = first.filter((part) => others.every((parts) => parts.includes(part)));
  const isTwice = [first, ...others].some((parts) => distinct(parts).length < parts.length);
  const short = (name: string): string =>
    joinLabels(
      ...name.split(' · ').map((label) =>
        label
          .split(', ')
          .filter((part) => !shared.includes(part))
          .join(', '),
      ),
    );
  const left = distinct(names.map(short)).filter((name) => name !== '');
  return shared.length === 0 || isTwice || left.length < names.length
    ? { shared: '', short: String }
    : {
        shared: shared.join(', '),
        short: (name) => (names.includes(name) ? short(name) : name),
      };
}

/** Returns one point for each place and seed. Throws a UserFault if conditions share a place. */
export function checkedPlaces({ name }: FigureEntry, points: readonly Point[]): readonly Point[] {
  if (clashesIn(points).length > 0)
    throw new UserFault(
      `the figure ${name} has several cells at one place, which nothing in it tells apart`,
      'Name the axis in which they differ under color or facet, or choose cells.',
    );
  // Two names of one condition may have one place (1/d and 1/(1d)).
  return [...new Map(points.map((point) => [keyed(placeKey(point), point.seed), point])).values()];
}
