/**
 * The parts from which chapters are built. Preact escapes all text; only the report's own figures
 * are raw markup.
 */
import { createHash } from 'node:crypto';
import type { ComponentChildren, JSX } from 'preact';
import { basePrefix, type StageFacts } from '../../api.ts';
import type { Analysis } from '../analysis.ts';
import { type Condition, metricOf, type Quantity, seriesOf, summaryOf } from '../conditions.ts';
import type { DrawnEntry } from '../entries.ts';
import type { DrawnFigures } from '../figures/index.ts';
import { cut, formatSigned, formatValue, type NumberKind } from '../format.ts';
import { blockLabel, doseUnit, headName, sectionTitle } from '../labels.ts';
import { formatSummary } from '../numbers.ts';
import type { AttackNote, EntryContents, Figure } from '../types.ts';
import { type Verdict, verdictText } from '../verdict.ts';
import { style } from './style.ts';

export type Node = ComponentChildren;

/** Shows a message, with what stands between backticks in it as code. */
export const Message = ({ text }: { readonly text: string }): JSX.Element => (
  <>{text.split(/`([^`\n]+)`/).map((part, i) => (i % 2 === 0 ? part : <code>{part}</code>))}</>
);

/** Returns a policy that forbids the page every request, and every script but the given one. */
const contentSecurityPolicy = (script: string | null): string =>
  [
    "default-src 'none'",
    'img-src data:',
    "style-src 'unsafe-inline'",
    ...(script === null
      ? []
      : [`script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`]),
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');

/**
 * The head of a page, with its style and policy. `script` is the only script that may run; null for
 * none.
 */
export const Head = ({
  name,
  script = null,
  css = style,
}: {
  readonly name: string;
  readonly script?: string | null;
  readonly css?: string;
}): JSX.Element => (
  <head>
    <meta charSet="utf-8" />
    <meta http-equiv="Content-Security-Policy" content={contentSecurityPolicy(script)} />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="referrer" content="no-referrer" />
    <title>{`${name} · dosimeter`}</title>
    <link rel="icon" href="data:," />
    <style dangerouslySetInnerHTML={{ __html: css }} />
  </head>
);

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row, index: number) => Node;
  /** The CSS class of the column, which sets its width and where its lines break. */
  readonly kind: 'number' | 'nowrap' | 'words' | 'cut' | 'claim' | undefined;
}

const columnMaker =
  (kind: Column<unknown>['kind']) =>
  <Row,>(title: string, value: Column<Row>['value']): Column<Row> => ({ title, kind, value });
export const numbers = columnMaker('number');
/** Makes a column of names, which are not broken into lines. */
export const names = columnMaker('nowrap');
export const texts = columnMaker(undefined);
export const words = columnMaker('words');
export const longTexts = columnMaker('cut');
export const claims = columnMaker('claim');

export const Scroll = ({
  label,
  children,
}: {
  readonly label: string;
  readonly children: Node;
}): JSX.Element => (
  <div class="scroll" tabIndex={0} role="region" aria-label={label}>
    {children}
  </div>
);

/** A table with at least this many columns is set in smaller type. */
const DENSE = 9;

interface TableProps<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** The most rows to show. The caption then says how many others there are. */
  readonly most?: number;
  readonly caption?: string;
  /** Whether a row begins a group, which a heavier line separates from the row above. */
  readonly starts?: (row: Row, above: Row) => boolean;
}

/** Draws a table of rows, at most `most` of them. */
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
  const isFirst = (row: Row, index: number): boolean => {
    const above = shown[index - 1];
    return above !== undefined && (starts?.(row, above) ?? false);
  };
  return (
    <Scroll label={label}>
      <table class={columns.length >= DENSE ? 'dense' : undefined}>
        {caption === undefined && left === 0 ? null : (
          <caption>
            <span>
              {caption}
              {left > 0 ? ` ${left.toLocaleString('en')} more rows are left out here.` : ''}
            </span>
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
            <tr class={isFirst(row, index) ? 'first' : undefined}>
              {columns.map(({ value, kind }) => (
                <td class={kind}>{value(row, index)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

export const Chip = ({ verdict }: { readonly verdict: Verdict }): JSX.Element => (
  <span class={`chip ${verdict.state}`}>{verdictText(verdict)}</span>
);

/** Shows a verdict, and the corrected interval if one was judged. */
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

/** A link that holds a CSV and saves it as a file. Its text by default: `Data (CSV)`. */
export const CsvLink = ({
  name,
  csv,
  children,
}: {
  readonly name: string;
  readonly csv: string;
  readonly children?: Node;
}): JSX.Element => (
  <a
    download={`${name}.csv`}
    href={`data:text/csv;charset=utf-8;base64,${Buffer.from(csv, 'utf8').toString('base64')}`}
  >
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
    <figure id={`figure-${figure.id}`} class={wide ? 'broad' : undefined}>
      <h4>{figure.title}</h4>
      {wide ? <Scroll label={figure.title}>{drawing}</Scroll> : drawing}
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

/** Whether a figure is so wide, in CSS pixels, that its text could not be read in half a page. */
function isBroad({ svg }: Figure): boolean {
  const [, width, unit] = /^<svg[^>]*? width="([\d.]+)(pt)?"/.exec(svg) ?? [];
  return Number(width) * (unit === undefined ? 1 : 4 / 3) > 600;
}

/**
 * Shows figures in rows (`grid`, where a broad one has a row of its own), packed by their heights
 * (`masonry`), or one to a row (`wide`). A broad figure, and any figure of `wide`, scrolls if it
 * takes more room than there is.
 */
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
        <FigureBox
          figure={figure}
          wide={layout === 'wide' || (layout === 'grid' && isBroad(figure))}
        />
      ))}
    </div>
  );

/** Shows a stage's state; that of a failed or blocked one in red, with its error on hover. */
export const stateText = ({ state, error }: StageFacts): JSX.Element =>
  state === 'failed' || state === 'blocked' ? (
    <span class="bad" title={error}>
      {state}
    </span>
  ) : (
    <>{state}</>
  );

/**
 * Describes the cells of a stage by dose, attack, adapter and rank, and by the axes `varying`. A
 * stage of an earlier training (`section`) is described by that training and those before it.
 */
export function axesText({ cell, section }: StageFacts, varying: ReadonlySet<string>): string {
  // Returns the place of a base in its chain; 0 for a single base.
  const place = (prefix: string): number => Number(/\d+/.exec(prefix)?.[0] ?? 0);
  const isRead = (path: string, prefix: string): boolean =>
    section === undefined ||
    (prefix === '' ? /^(?:model|data|head)\./.test(path) : place(prefix) <= place(section));
  const parts = Object.entries(cell).flatMap(([path, value]) => {
    const prefix = basePrefix(path),
      bare = path.slice(prefix.length);
    const isShown =
      varying.has(path) ||
      doseUnit(bare) !== null ||
      ['poisoning.attack', 'adapter.type', 'adapter.rank'].includes(bare);
    if (!isShown || !isRead(path, prefix)) return [];
    const name = prefix === `${section ?? ''}.` ? headName(bare) : headName(path);
    return [`${name} ${formatValue(value)}`];
  });
  const text = parts.join(', ') || 'all cells';
  return section === undefined ? text : `${sectionTitle(section)}: ${text}`;
}

const MOST_CHARACTERS = 200;

/** Writes each parameter's values in the grid: `triggers cf, mn; rate 0.1 | 0.3`; `–` for none. */
export const paramsText = (params: AttackNote['params']): string =>
  Object.entries(params)
    .map(([name, values]) => {
      const texts = values.map((value) => [value].flat().map(formatValue).join(', '));
      return `${name.replaceAll('_', ' ')} ${cut(texts.join(' | '), MOST_CHARACTERS)}`;
    })
    .join('; ') || '–';

export interface PageProps extends Analysis {
  readonly figures: DrawnFigures;
  /** The figures and tables of the spec's `report`. */
  readonly entries: readonly DrawnEntry[];
  /** The report's own figures that cannot be drawn, and why. */
  readonly lacking: readonly EntryContents[];
}

export interface Chapter {
  /** Unique in the page, the chapter's anchor. */
  readonly id: string;
  readonly nav: string;
  readonly title: string;
  /** Whether the chapter has anything to say. Default: always. */
  readonly concerns?: (props: PageProps) => boolean;
  /** What the chapter shows, from top to bottom. A part with nothing to show returns null. */
  readonly parts: readonly ((props: PageProps) => JSX.Element | null)[];
}

/** Links to the page of all outputs, if there is one beside the report. */
export const OutputsLink = ({
  input,
  children,
}: Pick<PageProps, 'input'> & { readonly children: Node }): JSX.Element | null =>
  input.outputs === undefined ? null : (
    <p>
      <a href="outputs.html">The output browser</a> has {children}.
    </p>
  );

export interface OfConditions {
  readonly conditions: readonly Condition[];
}

export const OVER_SEEDS =
  'Mean ± half of the 95% t-interval over seeds; of two seeds, both values; alone where all ' +
  'seeds are equal.';

export const ATTACK: Column<Condition> = names('Attack', blockLabel);
export const ADAPTER: Column<Condition> = names('Adapter', ({ adapterLabel }) => adapterLabel);

/** Summarises a quantity over a condition's seeds; `–` if none has it. */
export function summaryText(condition: Condition, quantity: Quantity, kind?: NumberKind): string {
  const { summary } = seriesOf(condition, quantity);
  return summary === null ? '–' : formatSummary(summary, kind);
}

export const numberColumn = (
  title: string,
  quantity: Quantity,
  kind?: NumberKind,
): Column<Condition> => numbers(title, (condition) => summaryText(condition, quantity, kind));

export const metricColumns = (
  stage: string,
  columns: readonly (readonly [title: string, metric: string, kind?: NumberKind])[],
): readonly Column<Condition>[] =>
  columns.map(([title, metric, kind]) => numberColumn(title, metricOf(stage, metric), kind));

/** Columns for the adapter and, if any condition has one, the setting. */
export const adapterColumns = (conditions: readonly Condition[]): readonly Column<Condition>[] => [
  ADAPTER,
  ...(conditions.some(({ setting }) => setting !== '')
    ? [words('Setting', ({ setting }: Condition) => setting || '–')]
    : []),
];

export const namingColumns = (conditions: readonly Condition[]): readonly Column<Condition>[] => [
  names('Attack', ({ attackLabel }) => attackLabel),
  ...adapterColumns(conditions),
];

export const startsBlock = (row: Condition, above: Condition): boolean =>
  blockLabel(row) !== blockLabel(above);

/** Returns the conditions of which at least one seed has a metric. */
export const conditionsWith = (
  conditions: readonly Condition[],
  stage: string,
  metric: string,
): readonly Condition[] =>
  conditions.filter((condition) => summaryOf(condition, { stage, metric }) !== null);
