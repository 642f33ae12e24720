/** Published numbers (overlays) as points of a figure, with their panels, lines and colours. */
import type { Overlay } from '../../api/report.ts';
import { distinct } from '../groups.ts';
import { keyed } from './encode.ts';
import type { Frame } from './frame.ts';
import type { Measure } from './measure.ts';
import type { Point } from './points.ts';
import type { Palette } from './theme.ts';

/** The colour of published series whose line the figure does not have. */
export const GREY = '#8a8a8a';

const panelsOf = (points: readonly Point[]) => [
  ...new Map(points.map(({ row, column }) => [keyed(row, column), { row, column }])).values(),
];

/** Whether a value names a panel: `0.1` names `rate 0.1`, and undefined names every panel. */
function namesPanel(value: string | undefined, panel: string): boolean {
  const name = panel.replaceAll('−', '-');
  return value === undefined || name === value || name.endsWith(` ${value}`);
}

type OverlayRow = Overlay['rows'][number];

/** Returns [value] or, if the overlay has a spread, [value, low, high]. */
export function valuesIn({ y, spread }: Overlay, row: OverlayRow): readonly number[] {
  const number = (column: string): number => Number(row[column]);
  const value = number(y);
  if (spread === undefined) return [value];
  if (typeof spread === 'object') return [value, ...spread.map(number)];
  return [value, value - number(spread), value + number(spread)];
}

/** Returns the measure that an overlay's numbers are of. Default: the first. */
export const measureIn = ({ metric }: Overlay, { measures }: Frame): Measure | undefined =>
  metric === undefined ? measures[0] : measures.find(({ field }) => field === metric);

/**
 * Returns the legend's name of each series of an overlay: the overlay's label. If several series
 * have no line in the figure, these have the label and the name of the series.
 * @param domain the names of the figure's lines
 */
export function publishedLines(
  { rows, color = '', names, label }: Overlay,
  domain: readonly string[],
): ReadonlyMap<string, string> {
  const runs = distinct(rows.map((row) => row[color] ?? ''));
  const seriesName = (run: string): string => names[run] ?? run;
  const withoutLine = runs.filter((run) => !domain.includes(seriesName(run)));
  return new Map(
    runs.map((run) => [
      run,
      withoutLine.length > 1 && withoutLine.includes(run) ? `${label}: ${seriesName(run)}` : label,
    ]),
  );
}

/** Returns the data of an overlay, each row once for each panel that it belongs to. */
export function publishedRows(overlay: Overlay, frame: Frame, { domain, range }: Palette) {
  const { rows, color = '', names, facet = {} } = overlay;
  const measure = measureIn(overlay, frame);
  const lines = publishedLines(overlay, domain);
  return rows.flatMap((row) => {
    const run = row[color] ?? '';
    const [value, low, high] = valuesIn(overlay, row);
    return panelsOf(frame.points)
      .filter(
        (panel) =>
          namesPanel(facet.row && row[facet.row], panel.row) &&
          namesPanel(facet.column && row[facet.column], panel.column),
      )
      .map((panel) => ({
        ...{ ...panel, panel: measure?.field, part: 'published', run, value, low, high },
        x: frame.x.kind === 'text' ? row[overlay.x] : Number(row[overlay.x]),
        ink: range[domain.indexOf(names[run] ?? run)] ?? GREY,
        line: lines.get(run),
      }));
  });
}
