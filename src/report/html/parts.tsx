/** What every chapter is built of. Preact escapes all text; the only raw markup is our own figures' SVG. */
import type { ComponentChildren, JSX } from 'preact';
import type { StageFacts } from '../../api.ts';
import { axisName, doseUnit } from '../conditions.ts';
import { formatSigned, formatValue, type NumberKind } from '../format.ts';
import type { Figure } from '../types.ts';
import { type Verdict, verdictText } from '../verdict.ts';

export type Node = ComponentChildren;

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row, index: number) => Node;
  readonly kind?: 'number' | 'nowrap' | 'cut' | 'claim';
}

/** Tables of so many columns are set narrower. */
const DENSE = 9;

interface TableProps<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** Rows beyond it are left out, and said to be. */
  readonly most?: number;
  readonly caption?: string;
  /** A heavier line above a row that begins a group. */
  readonly starts?: (row: Row, index: number) => boolean;
}

export function Table<Row>({
  label,
  columns,
  rows,
  most = 400,
  caption,
  starts,
}: TableProps<Row>): JSX.Element {
  const shown = rows.slice(0, most);
  const left = rows.length - shown.length;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class={columns.length >= DENSE ? 'dense' : undefined}>
        {caption === undefined && left === 0 ? null : (
          <caption>
            {caption}
            {left > 0 ? ` ${left.toLocaleString('en')} more rows are left out here.` : ''}
          </caption>
        )}
        <thead>
          <tr>
            {columns.map(({ title, kind }) => (
              <th scope="col" class={kind}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row, index) => (
            <tr class={index > 0 && starts?.(row, index) ? 'first' : undefined}>
              {columns.map(({ value, kind }) => (
                <td class={kind}>{value(row, index)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export const Chip = ({ verdict }: { readonly verdict: Verdict | null }): JSX.Element | null =>
  verdict === null ? null : <span class={`chip ${verdict.state}`}>{verdictText(verdict)}</span>;

/** With the corrected interval that decided, where there is one. */
export const Judged = ({
  verdict,
  kind = 'plain',
}: {
  readonly verdict: Verdict;
  readonly kind?: NumberKind;
}): JSX.Element => (
  <>
    <Chip verdict={verdict} />
    {verdict.interval === null ? null : (
      <span class="muted small whole">
        {' '}
        corrected [{formatSigned(verdict.interval.low, kind)},{' '}
        {formatSigned(verdict.interval.high, kind)}]
      </span>
    )}
  </>
);

export const dataUri = (type: string, text: string): string =>
  `data:${type};charset=utf-8;base64,${Buffer.from(text, 'utf8').toString('base64')}`;

export const CsvLink = ({
  name,
  csv,
  children,
}: {
  readonly name: string;
  readonly csv: string;
  readonly children?: Node;
}): JSX.Element => (
  <a download={`${name}.csv`} href={dataUri('text/csv', csv)}>
    {children ?? 'Data (CSV)'}
  </a>
);

export function FigureBox({
  figure,
  wide = false,
}: {
  readonly figure: Figure;
  readonly wide?: boolean;
}): JSX.Element {
  const drawing = <div data-drawing={figure.id} dangerouslySetInnerHTML={{ __html: figure.svg }} />;
  return (
    <figure id={`figure-${figure.id}`}>
      <h4>{figure.title}</h4>
      {wide ? (
        <div class="scroll" tabIndex={0} role="region" aria-label={figure.title}>
          {drawing}
        </div>
      ) : (
        drawing
      )}
      <figcaption>{figure.caption}</figcaption>
      <div class="downloads">
        <button type="button" hidden data-figure={figure.id}>
          Figure (SVG)
        </button>
        {figure.csv === null ? null : <CsvLink name={figure.id} csv={figure.csv} />}
      </div>
    </figure>
  );
}

/** grid: pairs side by side; masonry: uneven heights, packed; wide: each its own row, scrolling where it has no room. */
export const Figures = ({
  figures,
  layout = 'grid',
}: {
  readonly figures: readonly Figure[];
  readonly layout?: 'grid' | 'masonry' | 'wide';
}): JSX.Element | null =>
  figures.length === 0 ? null : (
    <div class={`figures ${layout}`}>
      {figures.map((figure) => (
        <FigureBox figure={figure} wide={layout === 'wide'} />
      ))}
    </div>
  );

/** What a stage is of, by the axes that people look for. */
export const axesText = (stage: StageFacts): string =>
  Object.entries(stage.cell)
    .filter(
      ([path]) =>
        doseUnit(path) !== null ||
        ['poisoning.attack', 'adapter.type', 'adapter.rank'].includes(path),
    )
    .map(
      ([path, value]) =>
        `${path.startsWith('poisoning.') ? axisName(path) : path.split('.')[1]} ${formatValue(value)}`,
    )
    .join(', ') || 'all cells';

export const Section = ({
  id,
  title,
  children,
}: {
  readonly id: string;
  readonly title: string;
  readonly children: Node;
}): JSX.Element => (
  <section id={id}>
    <h2>{title}</h2>
    {children}
  </section>
);
