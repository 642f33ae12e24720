/** A grid of results as a LaTeX table in the style of booktabs. Pure. */
import type { Json } from '../api.ts';
import { type Against, TEST_HEAD, TEST_NOTE } from './against.ts';
import { daggerText, fewerRowsText } from './evidence.ts';
import { codePoints, plainText } from './format.ts';
import {
  entriesIn,
  excludedText,
  gridCells,
  type GridColumn,
  type GridForm,
  gridOfShownSources,
  type GridTable,
  type PlaceNames,
  seedCounts,
  triggerNoteOf,
  valuesText,
} from './grid.ts';
import { distinctMetrics, meaningOf, noteOf } from './metric-lookup.ts';
import { spreadNote } from './numbers.ts';
import type { Figure } from './types.ts';

export interface LatexRequest extends GridTable {
  readonly name: string;
  /** The table's label, after `tab:`. Default: `name`. */
  readonly label?: string;
  /** Whether the task is completion, so that the metrics are of what the models write. */
  readonly ofAnswers: boolean;
  /** Sentences about model, data and backend, unescaped. */
  readonly facts: readonly string[];
  /** Whether definitions, facts and caveats stand below the table, or above it as comments. */
  readonly notes: 'below' | 'comments';
  readonly comments: readonly string[];
}

const MARK = '$^{\\dagger}$',
  FEWER_MARK = '$^{\\ddagger}$';

const latexValue = (value: Json): string =>
  typeof value === 'number' ? latexNumber(String(value)) : escapeLatex(plainText(value));

/** Whether two rows or columns have the same names along the first `depth` + 1 axes. */
const isSameUpTo = (depth: number, a: PlaceNames, b: PlaceNames): boolean =>
  JSON.stringify(a.slice(0, depth + 1)) === JSON.stringify(b.slice(0, depth + 1));

/** Returns a table environment with its caption and, below or as comments above, its notes. */
export function latexTable(asked: LatexRequest): string {
  const request = { ...asked, grid: gridOfShownSources(asked.grid) };
  const { label = request.name, comments } = request;
  const notes = noteSentences(request),
    head = tableHead(request),
    body = tableBody(request);
  const isWide = tabularWidth([...head.slice(-1), ...body]) > PAGE;
  return [
    ...comments.map(latexComment),
    latexComment(`needs \\usepackage{booktabs${isWide ? ',adjustbox' : ''}} in the preamble`),
    ...(isWide ? [latexComment(WIDE)] : []),
    ...(request.notes === 'comments' ? notes.map(latexComment) : []),
    '\\begin{table}',
    '  \\centering',
    '  \\small',
    '  \\setlength{\\tabcolsep}{4pt}',
    '  \\setlength{\\belowcaptionskip}{6pt}',
    `  \\caption{${captionText(request)}}`,
    `  \\label{tab:${latexLabel(label)}}`,
    ...(isWide ? ['  \\begin{adjustbox}{max width=\\linewidth}'] : []),
    `  \\begin{tabular}{@{}${columnSpec(request)}@{}}`,
    '    \\toprule',
    ...head,
    '    \\midrule',
    ...body,
    '    \\bottomrule',
    '  \\end{tabular}',
    ...(isWide ? ['  \\end{adjustbox}'] : []),
    ...(request.notes === 'below'
      ? [
          '  \\par\\medskip',
          '  \\begin{minipage}{\\linewidth}\\footnotesize',
          ...notes.map((note) => `    ${escapeLatex(note)}`),
          '  \\end{minipage}',
        ]
      : []),
    '\\end{table}',
  ].join('\n');
}

const WIDE =
  "wider than a page of article: adjustbox scales it to the line's width; fewer columns, or " +
  'landscape of pdflscape around the table, keep its type larger';
/** Widths in points: of a page's text in article, of a \small character, between two columns. */
const PAGE = 345,
  CHARACTER = 4.6,
  BETWEEN = 8;

/** Estimates the width of a tabular in points by the longest text in each column of its rows. */
function tabularWidth(rows: readonly string[]): number {
  const widths: number[] = [];
  for (const row of rows.filter((line) => line.endsWith('\\\\')))
    for (const [i, cell] of row.trim().slice(0, -3).split(' & ').entries()) {
      const text = cell
        .replace(/^\\multicolumn\{1\}\{c\}/, '')
        .replaceAll(/\\[A-Za-z]+|[\\{}$^]/g, '');
      widths[i] = Math.max(widths[i] ?? 0, CHARACTER * codePoints(text).length + BETWEEN);
    }
  return widths.reduce((sum, width) => sum + width, -BETWEEN);
}

/** Returns a figure environment. A figure as wide as a page (486 pt) spans both text columns. */
export function latexFigure({ id, title, caption, svg }: Omit<Figure, 'csv'>): string {
  const environment = /^<svg[^>]* width="486pt"/.test(svg) ? 'figure*' : 'figure';
  return [
    latexComment('needs \\usepackage{graphicx} in the preamble'),
    `\\begin{${environment}}`,
    '  \\centering',
    `  \\includegraphics[width=\\linewidth]{${id}.pdf}`,
    `  \\caption{${escapeLatex(title)}. ${escapeLatex(caption)}}`,
    `  \\label{fig:${latexLabel(id)}}`,
    `\\end{${environment}}`,
  ].join('\n');
}

/** Returns the tabular's columns: `l` for each axis of the rows, `r` for each column of numbers. */
const columnSpec = ({ rowAxes, grid }: LatexRequest): string =>
  'l'.repeat(rowAxes.length) +
  grid.columns.map((column) => 'r'.repeat(columnWidth(column))).join('');

/** Returns how many columns of LaTeX a grid's column takes: mean, and maybe difference and p. */
export const columnWidth = ({ differs, tested }: GridColumn): number =>
  1 + Number(differs) + Number(tested);
const texRow = (cells: readonly string[]): string => `    ${cells.join(' & ')} \\\\`;

/**
 * Groups neighbouring columns that share a heading on the axis at `depth`, which they do if they
 * have the same names along that axis and all outer ones. `width` counts columns of the tabular.
 */
function spansAt(depth: number, columns: readonly GridColumn[]) {
  const spans: { readonly at: PlaceNames; width: number }[] = [];
  for (const column of columns) {
    const last = spans.at(-1);
    if (last && isSameUpTo(depth, last.at, column.at)) last.width += columnWidth(column);
    else spans.push({ at: column.at, width: columnWidth(column) });
  }
  return spans;
}

/** Returns the head's line for one axis of the columns, and the line of rules under it, if any. */
function axisLine(
  path: string,
  depth: number,
  { grid, rowAxes, axisName }: LatexRequest,
): readonly string[] {
  const cells: string[] = rowAxes.map(() => ''),
    rules: string[] = [];
  let column = rowAxes.length + 1;
  for (const span of spansAt(depth, grid.columns)) {
    const value = valuesText(path, span.at[depth], latexValue);
    const text = value === '' ? '' : `${escapeLatex(axisName(path))}: ${value}`;
    cells.push(`\\multicolumn{${span.width}}{c}{${text}}`);
    if (text !== '') rules.push(`\\cmidrule(lr){${column}-${column + span.width - 1}}`);
    column += span.width;
  }
  return [texRow(cells), ...(rules.length === 0 ? [] : [`    ${rules.join(' ')}`])];
}

function tableHead(request: LatexRequest): string[] {
  const { grid, rowAxes, columnAxes, axisName, against } = request;
  const minus = `$-$ ${against}`;
  return [
    ...columnAxes.flatMap((path, depth) => axisLine(path, depth, request)),
    texRow([
      ...rowAxes.map((path) => escapeLatex(axisName(path))),
      ...grid.columns.flatMap(({ metric, differs, tested }) => [
        `\\multicolumn{1}{c}{${escapeLatex(noteOf(metric)?.label ?? metric.metric)}}`,
        ...(differs ? [`\\multicolumn{1}{c}{${minus}}`] : []),
        ...(tested ? [`\\multicolumn{1}{c}{${TEST_HEAD}}`] : []),
      ]),
    ]),
  ];
}

/**
 * Returns how LaTeX writes the cells of a table.
 * @param most the largest number of seeds behind any number; n follows numbers of fewer seeds
 */
function latexForm(most: number): GridForm {
  // Returns ` ($n = 2$)` for fewer seeds than `most`; else ''.
  const ofSeeds = (n: number): string => (n === most ? '' : ` ($n = ${n}$)`);
  return {
    empty: '--',
    mark: MARK,
    fewer: FEWER_MARK,
    number: latexNumber,
    seeds: (n, of) => (n < of ? ` ($n = ${n}$ of $${of}$)` : ofSeeds(n)),
    pairs: ofSeeds,
    test: (text) => text.replaceAll(/<?[\d.]+/g, (value) => `$${value}$`),
  };
}

function tableBody(request: LatexRequest): string[] {
  const { grid, rowAxes } = request;
  const cells = gridCells(request, latexForm(Math.max(0, ...seedCounts(entriesIn(grid)))));
  return grid.rows.flatMap((row, i) => {
    const above = grid.rows[i - 1];
    // A value that is the same as in the row above, with the same outer values, is not repeated.
    const isRepeated = (depth: number): boolean =>
      above !== undefined && isSameUpTo(depth, row, above);
    const names = rowAxes.map((path, depth) =>
      isRepeated(depth) ? '' : valuesText(path, row[depth], latexValue) || '--',
    );
    const startsGroup = above !== undefined && row.length > 1 && !isRepeated(0);
    return [
      ...(startsGroup ? ['    \\addlinespace'] : []),
      texRow([...names, ...(cells[i] ?? [])]),
    ];
  });
}

/** Returns the caption: what the table shows, what its numbers are, and what their marks mean. */
function captionText(request: LatexRequest): string {
  const { name, grid, spread = 'interval' } = request;
  const entries = entriesIn(grid);
  const dagger = daggerText(entries.flatMap(({ reasons }) => reasons)),
    fewer = fewerRowsText(entries.flatMap(({ fewerRows }) => fewerRows ?? []));
  const counts = seedCounts(entries);
  const sentences = [
    `${escapeLatex(name)}.`,
    escapeLatex(spreadNote(counts, spread)),
    new Set(counts).size > 1 ? '$n$: seeds, where it is not the largest number.' : null,
    dagger && `${MARK} ${escapeLatex(dagger)}`,
    fewer && `${FEWER_MARK} ${escapeLatex(fewer)}`,
  ];
  return sentences.filter((sentence) => sentence !== null).join(' ');
}

/** Returns sentences: what metrics and differences mean, pairs left out, facts, caveats. */
function noteSentences(request: LatexRequest): readonly string[] {
  const { grid, against, ofAnswers, caveats, facts } = request;
  const entries = entriesIn(grid),
    places = grid.entries.flat().filter((entry) => entry !== null);
  const shown = distinctMetrics(grid.columns.map(({ metric }) => metric)).map(noteOf);
  const notes = [
    ...shown.map((note) => note && `${note.label}: ${meaningOf(note, ofAnswers)}.`),
    grid.columns.some(({ differs }) => differs) && differenceText(against),
    grid.columns.some(({ tested }) => tested) && TEST_NOTE,
    excludedText(entries),
    triggerNoteOf(grid),
    entries.length < places.length &&
      'A training that the axes name in several ways appears at each of its places, but was run ' +
        'once.',
    ...facts,
    ...caveats,
  ];
  return notes.filter((note) => typeof note === 'string');
}

const differenceText = (against: Against): string =>
  (against === 'full'
    ? '“− full”: difference from full fine-tuning under the same attack'
    : '“− clean”: difference from the paired clean run, for the success rate from what the ' +
      'trigger does to its model') +
  ', paired by seed, with its own interval, uncorrected for the number of comparisons.';

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

/** Replacements that LaTeX (2020 or newer) understands without packages, in any font encoding. */
const SPECIAL: Readonly<Record<string, string>> = {
  '\\': '\\textbackslash{}',
  '{': '\\{',
  '}': '\\}',
  $: '\\$',
  '&': '\\&',
  '#': '\\#',
  _: '\\_',
  '%': '\\%',
  '~': '\\textasciitilde{}',
  '^': '\\textasciicircum{}',
  '<': '\\textless{}',
  '>': '\\textgreater{}',
  '|': '\\textbar{}',
  '"': '\\char34{}',
  "'": '\\char39{}',
  '`': '\\textasciigrave{}',
  '[': '{[}', // after \\, which ends a row, a bracket or an asterisk would begin an option
  ']': '{]}',
  '*': '{*}',
  '…': '\\dots{}',
  '–': '--',
  '—': '---',
  '’': '\\char39{}',
  '“': '\\char34{}',
  '”': '\\char34{}',
  '§': '\\S{}',
};
const MATHS: Readonly<Record<string, string>> = {
  '†': '^{\\dagger}',
  '‡': '^{\\ddagger}',
  α: '\\alpha',
  β: '\\beta',
  γ: '\\gamma',
  δ: '\\delta',
  ε: '\\epsilon',
  η: '\\eta',
  θ: '\\theta',
  κ: '\\kappa',
  λ: '\\lambda',
  μ: '\\mu',
  ρ: '\\rho',
  σ: '\\sigma',
  τ: '\\tau',
  φ: '\\phi',
  Δ: '\\Delta',
  Σ: '\\Sigma',
  '−': '-',
  '±': '\\pm',
  '×': '\\times',
  '·': '\\cdot',
  '→': '\\rightarrow',
  '≤': '\\leq',
  '≥': '\\geq',
  '∞': '\\infty',
  '½': '\\frac{1}{2}',
  '≈': '\\approx',
  '●': '\\bullet',
  '❘': '\\vert',
  ᵀ: '^{\\top}',
  '⁻': '^{-}',
  ...Object.fromEntries(Array.from('⁰¹²³⁴⁵⁶⁷⁸⁹', (digit, i) => [digit, `^{${i}}`])),
  ...Object.fromEntries(Array.from('₀₁₂₃₄₅₆₇₈₉', (digit, i) => [digit, `_{${i}}`])),
};

/**
 * Escapes text for LaTeX. Letters of other scripts stay as they are, since LaTeX reads UTF-8.
 * Control characters become spaces, so that no text can end a line or a comment.
 */
export const escapeLatex = (text: string): string =>
  codePoints(text.replaceAll(CONTROL, ' '))
    .map((character, i, all) => {
      if (character === '-' && all[i + 1] === '-') return '-{}'; // otherwise the two make a dash
      const maths = MATHS[character];
      return SPECIAL[character] ?? (maths === undefined ? character : `$${maths}$`);
    })
    .join('');

export const latexComment = (text: string): string => `% ${text.replaceAll(CONTROL, ' ')}`;

/** Returns a label of letters, digits, `-` and `:`, which every package accepts. */
export const latexLabel = (text: string): string => text.replaceAll(/[^A-Za-z0-9:]+/g, '-');

/**
 * Writes a number from `plainSpread` in math mode: `0.950 ± 0.064` → `$0.950 \pm 0.064$`, and
 * `0.95 (0.9–1)` → `$0.95\ (0.9$--$1)$`.
 */
export const latexNumber = (text: string): string =>
  `$${text
    .replaceAll('±', '\\pm')
    .replaceAll(' (', '\\ (')
    .replaceAll(', ', ',\\ ')
    .replaceAll('−', '-')
    .replaceAll('–', '$--$') // a dash is text, and a minus after it no operator between two numbers
    .replaceAll(
      /e([+-]?)0*(\d+)/g,
      (_, sign: string, power: string) => `\\times 10^{${sign === '-' ? '-' : ''}${power}}`,
    )}$`;
