/** The rows of a cell, as the page lists, filters and opens them. */
import type { ComponentChildren, JSX } from 'preact';
import { defined } from '../../base/defined.ts';
import { formatNumber } from '../format.ts';
import { changedParts, ChangedRow, Marked, type Segment } from '../html/changes.tsx';
import { applyEdit, type Asked, type OutputCell, type Outputs } from '../outputs.ts';
import type { GridProps } from './grid.tsx';

/** A list of rows. Its functions take a row's index in the list. */
export interface Rows extends Pick<GridProps, 'columns' | 'widths'> {
  readonly count: number;
  /** How many rows there are in all, of which only the first `count` are in this list. */
  readonly of: number;
  readonly id: (row: number) => string;
  readonly label: (row: number) => string;
  /** The classes to filter by; empty if rows have texts or numbers in place of classes. */
  readonly labels: readonly string[];
  /** Returns all text of a row. */
  readonly search: (row: number) => string;
  /** Other filters, by their names on the page. */
  readonly tests: { readonly [name: string]: (row: number) => boolean };
  readonly cells: (row: number) => readonly ComponentChildren[];
  readonly detail: (row: number) => JSX.Element;
}

/** Text from a data set or a model, which may be in any script and direction. */
export const Text = ({ children }: { readonly children: string }): JSX.Element => (
  <bdi>{children}</bdi>
);

/**
 * Writes an answer: a text, the number of a regression (which has one class), or the name of a
 * class; `–` if there is no answer.
 */
const answerText = (given: number | string | undefined, classes: readonly string[]): string =>
  typeof given === 'string'
    ? given
    : classes.length === 1
      ? formatNumber(given)
      : (classes[given ?? -1] ?? '–');

/**
 * What one model answered about the rows of a set, all with the trigger or all without it. The
 * functions take a row's index in the set.
 */
interface Answered {
  readonly title: string;
  /** Whether the model was asked about the row. */
  readonly has: (row: number) => boolean;
  readonly text: (row: number) => string;
  /**
   * Returns, for each scorer, whether it counts the answer; null if it is undecided. For classes
   * under a trigger, `target` stands in place of a scorer: it counts the target class.
   */
  readonly hits: (row: number) => readonly (readonly [scorer: string, hit: boolean | null])[];
  /** Returns what a scorer said about the answer; '' if it said nothing. */
  readonly said: (row: number, scorer: string) => string;
  /** Returns how the row was asked; {} if it was asked unchanged, or not at all. */
  readonly asked: (row: number) => Asked;
  /** Returns the text that the model was asked. */
  readonly question: (row: number) => string;
}

/**
 * Returns the answers of the cell's model or of its clean twin's, without the trigger (`plain`) or
 * with it. Null if there are none, or if the twin was asked about another set of rows.
 */
function answeredBy(
  { questions, evaluations, sets }: Outputs,
  { own, twin, target }: OutputCell,
  whose: 'own' | 'twin',
  shown: 'plain' | 'triggered',
): Answered | null {
  const set = evaluations[own ?? -1]?.set ?? -1;
  const evaluation = evaluations[(whose === 'own' ? own : twin) ?? -1],
    answers = evaluation?.[shown];
  if (answers === undefined || evaluation?.set !== set) return null;
  const { classes = [], ids = [], texts = [] } = sets[set] ?? {};
  const places = new Int32Array(ids.length).fill(-1);
  const { rows = [], asked: asks = [] } = questions[answers.questions] ?? {};
  rows.forEach((row, i) => (places[row] = i));
  // Returns a row's place among the rows that the model was asked about; −1 if it was not.
  const place = (row: number): number => places[row] ?? -1;
  const scorers = Object.entries(answers.hits),
    byTarget = shown === 'triggered' && classes.length > 1 && target !== null;
  const asked = (row: number): Asked => asks[place(row)] || {};
  return {
    title: `${whose === 'own' ? 'This cell' : 'Clean twin'}${shown === 'plain' ? '' : ', trigger'}`,
    has: (row) => place(row) >= 0,
    text: (row) =>
      asked(row).rejected
        ? 'rejected by the defence'
        : answerText(answers.given[place(row)], classes),
    hits: (row) =>
      byTarget
        ? [['target', answers.given[place(row)] === target && !asked(row).rejected]]
        : scorers.map(([scorer, hits]) => {
            const hit = hits[place(row)] ?? null;
            return [scorer, hit === null ? null : hit === 1];
          }),
    said: (row, scorer) => answers.said?.[scorer]?.[place(row)] ?? '',
    asked,
    question: (row) => {
      const { edit } = asked(row),
        text = texts[row] ?? '';
      return edit === undefined ? text : applyEdit(text, edit);
    },
  };
}

interface Answers {
  readonly plain: Answered;
  readonly twinPlain: Answered | null;
  readonly triggered: Answered | null;
  readonly twinTriggered: Answered | null;
}

/**
 * Returns the filters by what the models answered; each takes a row's index in the set. Filters
 * that compare answers for equality are left out for regressions.
 */
function createFilters(
  { plain, twinPlain, triggered, twinTriggered }: Answers,
  { classes, label }: { readonly classes: readonly string[]; label: (row: number) => string },
): Rows['tests'] {
  type Test = (row: number) => boolean;
  const differing =
    (one: Answered | null, other: Answered | null): Test =>
    (row) =>
      one?.has(row) === true && other?.has(row) === true && one.text(row) !== other.text(row);
  // Passes rows that the model was asked in a certain way, with the trigger or without it.
  const askedIn =
    (test: (asked: Asked) => boolean): Test =>
    (row) =>
      test(plain.asked(row)) || (triggered !== null && test(triggered.asked(row)));
  const byHits =
    (test: (hits: readonly (boolean | null)[]) => boolean): Test =>
    (row) =>
      [plain, triggered].some(
        (one) => one?.has(row) === true && test(one.hits(row).map(([, hit]) => hit)),
      );
  const twins = [differing(plain, twinPlain), differing(triggered, twinTriggered)];
  const scorers = triggered?.hits(0).map(([scorer]) => scorer) ?? [];
  const ofAnswers: { readonly [name: string]: Test } = {
    wrong: (row) => plain.text(row).trim() !== label(row).trim(),
    flipped: differing(plain, triggered),
    disagree: (row) => twins.some((test) => test(row)),
  };
  return {
    ...(classes.length === 1 ? {} : ofAnswers), // numbers of a regression are hardly ever equal
    ...Object.fromEntries(
      scorers.map((scorer, i): [string, Test] => [
        scorers.length === 1 ? 'hit' : `hit: ${scorer}`,
        (row) => triggered?.has(row) === true && triggered.hits(row)[i]?.[1] === true,
      ]),
    ),
    'scorers differ': byHits((hits) => new Set(hits).size > 1),
    undecided: byHits((hits) => hits.includes(null)),
    'cut by max_length': askedIn(({ unread }) => unread !== undefined),
    rejected: askedIn(({ rejected }) => rejected === true),
  };
}

/**
 * Returns the evaluated rows of a cell; null if it was not evaluated. The list's functions take an
 * index `i` in the list; `row` is an index in the set, as `Answered` takes it.
 */
export function evaluatedRows(outputs: Outputs, cell: OutputCell): Rows | null {
  const evaluation = outputs.evaluations[cell.own ?? -1],
    set = outputs.sets[evaluation?.set ?? -1],
    plain = answeredBy(outputs, cell, 'own', 'plain');
  if (evaluation === undefined || set === undefined || plain === null) return null;
  const answers: Answers = {
    plain,
    twinPlain: answeredBy(outputs, cell, 'twin', 'plain'),
    triggered: answeredBy(outputs, cell, 'own', 'triggered'),
    twinTriggered: answeredBy(outputs, cell, 'twin', 'triggered'),
  };
  const { triggered } = answers;
  const { classes } = set;
  const columns = Object.values(answers).filter((column: Answered | null) => column !== null);
  const { rows, of } = outputs.questions[evaluation.plain.questions] ?? { rows: [], of: 0 };
  const rowAt = (i: number): number => rows[i] ?? 0;
  const label = (row: number): string => answerText(set.labels[row], classes);
  // Returns the answer in each column; '' for a model that was not asked.
  const answerTexts = (row: number): string[] =>
    columns.map((column) => (column.has(row) ? column.text(row) : ''));
  const isClasses = classes.length > 1,
    labelTitle = isClasses ? 'Label' : 'Answer';
  return {
    count: rows.length,
    of,
    id: (i) => set.ids[rowAt(i)] ?? '',
    label: (i) => label(rowAt(i)),
    labels: isClasses ? classes : [],
    search: (i) => {
      const row = rowAt(i);
      const questions = [plain.question(row), triggered?.question(row) ?? ''];
      return [set.ids[row], ...questions, label(row), ...answerTexts(row)].join('\n');
    },
    tests: Object.fromEntries(
      Object.entries(createFilters(answers, { classes, label })).map(([name, test]) => [
        name,
        (i: number) => test(rowAt(i)),
      ]),
    ),
    columns: ['Text', labelTitle, ...columns.map(({ title }) => title)].map((name) => ({ name })),
    widths: [240, ...['', ...columns].map(() => (isClasses ? 140 : 180))],
    cells: (i) => {
      const row = rowAt(i);
      return [
        <Text>{(set.texts[row] ?? '').slice(0, MOST_SHOWN)}</Text>,
        <Text>{label(row)}</Text>,
        ...columns.map((column) => {
          if (!column.has(row)) return '–';
          const text = <Text>{column.text(row).slice(0, MOST_SHOWN)}</Text>;
          return column.hits(row).some(([, hit]) => hit === true) ? <mark>{text}</mark> : text;
        }),
      ];
    },
    detail: (i) => evaluatedRow(rowAt(i), answers, [labelTitle, label(rowAt(i))]),
  };
}

const MOST_SHOWN = 300;

/**
 * Shows a text with its change marked, and what of it the model did not read (`unread`: null if
 * that is not known, undefined if the model read all).
 */
function askedText(title: string, parts: readonly Segment[], unread: Asked['unread']): JSX.Element {
  const text = parts.map((part) => part.text).join('');
  const cut = unread?.map(([from, to]) => text.slice(from, to)).join(' … ');
  return (
    <>
      <p dir="auto">
        <span class="which">{title}</span>
        <Marked parts={parts} />
      </p>
      {unread === undefined ? null : (
        <p dir="auto">
          <span class="which">
            {cut === undefined
              ? 'max_length cut it; where can’t be told, as its tokens do not spell the text'
              : 'Of this, the model did not read what max_length cut off'}
          </span>
          {cut === undefined ? null : <s>{cut}</s>}
        </p>
      )}
    </>
  );
}

/**
 * Shows a row with all answers about it. The last argument is `Label` or `Answer`, with the row's
 * label or answer.
 */
function evaluatedRow(
  row: number,
  answers: Answers,
  [labelTitle, label]: readonly [title: string, text: string],
): JSX.Element {
  const { plain, twinPlain, triggered, twinTriggered } = answers;
  const before = plain.question(row),
    after = triggered?.has(row) === true ? triggered.question(row) : null;
  const hasTwin = twinPlain !== null || twinTriggered !== null;
  const lines = [
    ['Without the trigger', plain, twinPlain],
    ['With the trigger', triggered, twinTriggered],
  ] as const;
  return (
    <>
      <div class="example">
        {askedText(
          after === null ? 'Text' : 'Without the trigger',
          changedParts(after ?? before, before, true).after,
          plain.asked(row).unread,
        )}
        {after !== null &&
          askedText(
            'With the trigger',
            changedParts(before, after, true).after,
            triggered?.asked(row).unread,
          )}
      </div>
      <p>
        {labelTitle}: <Text>{label}</Text>
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Answers">
        <table>
          <thead>
            <tr>
              <th scope="col">Asked</th>
              <th scope="col">This cell</th>
              {hasTwin ? <th scope="col">Clean twin</th> : null}
            </tr>
          </thead>
          <tbody>
            {lines.map(([line, own, twin]) =>
              own?.has(row) === true ? (
                <tr>
                  <th scope="row">{line}</th>
                  {answerCell(row, own)}
                  {hasTwin ? answerCell(row, twin) : null}
                </tr>
              ) : null,
            )}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** Draws an answer and what each scorer made of it; `–` if the model was not asked. */
const answerCell = (row: number, of: Answered | null): JSX.Element => (
  <td>
    {of?.has(row) === true ? (
      <>
        <Text>{of.text(row)}</Text>
        <span class="muted small">
          {of.hits(row).map(([scorer, hit]) => {
            const said = of.said(row, scorer),
              words = said === '' ? '' : ` (${said})`;
            return `\n${scorer}: ${hit === null ? 'undecided' : hit ? 'hit' : 'no hit'}${words}`;
          })}
        </span>
      </>
    ) : (
      '–'
    )}
  </td>
);

/** Returns the poisoned rows of a cell; null if no training row was changed or added. */
export function poisonedRows(
  { poisoned, originals }: Outputs,
  { poisoned: of }: OutputCell,
): Rows | null {
  const list = poisoned[of ?? -1];
  if (list === undefined || list.of === 0) return null;
  const { rows } = list;
  // Returns a row's text and label before and after the attack, and whether it was added with a
  // part of the trigger and its true label.
  const at = (i: number) => {
    const { id, original, edit, labels, isAnswer, isDocument, negative } = rows[i]!;
    const before = originals[original] ?? '';
    const [labelBefore, labelAfter] = labels;
    const change = { id, before, after: applyEdit(before, edit), labelBefore, labelAfter };
    const kind = defined({ isAnswer, isDocument });
    return { change: { ...change, ...kind }, isNegative: negative === true };
  };
  const isAnswers = rows.some(({ isAnswer, isDocument }) => isAnswer ?? isDocument);
  const isDocuments = rows.every(({ isDocument }) => isDocument);
  return {
    count: rows.length,
    of: list.of,
    id: (i) => rows[i]?.id ?? '',
    label: (i) => rows[i]?.labels[1] ?? '',
    labels: isAnswers ? [] : [...new Set(rows.map(({ labels }) => labels[1]))].sort(),
    search: (i) => {
      const { id, before, after, labelBefore, labelAfter } = at(i).change;
      return [id, before, after, labelBefore, labelAfter].join('\n');
    },
    tests: {
      poisoned: (i) => !at(i).isNegative,
      negative: (i) => at(i).isNegative,
      'label changed': (i) => rows[i]?.labels[0] !== rows[i]?.labels[1],
    },
    columns: [
      'Text after the attack',
      ...(isDocuments ? ['Added at the end'] : ['Before', 'After']),
    ].map((name) => ({ name })),
    widths: [240, ...(isDocuments ? [240] : isAnswers ? [180, 240] : [110, 110])],
    cells: (i) => {
      const { after, labelBefore, labelAfter } = at(i).change;
      const labels = isDocuments ? [labelAfter] : [labelBefore, labelAfter];
      return [after.slice(0, MOST_SHOWN), ...labels].map((text) => <Text>{text}</Text>);
    },
    detail: (i) => {
      const { change, isNegative } = at(i);
      return (
        <>
          {isNegative ? <p>Added with a part of the trigger and its true label.</p> : null}
          <ChangedRow row={change} whole />
        </>
      );
    },
  };
}
