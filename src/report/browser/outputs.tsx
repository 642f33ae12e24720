/**
 * Shows all rows that models were asked about, a cell beside its clean twin, and its poisoned
 * training rows. What is shown is in the address: the cell by its axes, the filters and the row.
 */
import { type ComponentChildren, type JSX, render } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { formatNumber, plural } from '../format.ts';
import { changedParts, ChangedRow, Marked, type Segment } from '../html/changes.tsx';
import { type Answers, type Asked, edited, type OutputCell, type Outputs } from '../outputs.ts';
import { Grid, type GridProps } from './grid.tsx';

/** What is asked of a list of rows, and how it is shown. */
interface Rows extends Pick<GridProps, 'columns' | 'widths'> {
  readonly count: number;
  readonly id: (row: number) => string;
  /** The class that a row is filtered by. */
  readonly label: (row: number) => string;
  readonly labels: readonly string[];
  /** All text of a row, for the search. */
  readonly search: (row: number) => string;
  readonly tests: { readonly [name: string]: (row: number) => boolean };
  readonly cells: (row: number) => readonly ComponentChildren[];
  readonly detail: (row: number) => JSX.Element;
}

const TABS = { evaluated: 'Evaluated rows', poisoned: 'Poisoned training rows' };
type Tab = keyof typeof TABS;

interface Asking {
  readonly cell: number;
  readonly rows: Tab;
  readonly show: string;
  readonly label: string;
  readonly search: string;
  readonly row: string;
}

const FILTERS = ['show', 'label', 'search', 'row'] as const;

/** Returns what an address asks for. A cell that is not there is replaced by the most alike. */
function readLink({ axes, cells }: Outputs, text: string): Asking {
  const asked = new URLSearchParams(text);
  const wanted = axes.map(({ path, values }) => values.indexOf(asked.get(path) ?? ''));
  const [show = '', label = '', search = '', row = ''] = FILTERS.map(
    (name) => asked.get(name) ?? '',
  );
  return {
    cell: mostAlike(cells, wanted),
    rows: asked.get('rows') === 'poisoned' ? 'poisoned' : 'evaluated',
    ...{ show, label, search, row },
  };
}

function linkOf({ axes, cells }: Outputs, asking: Asking): string {
  const at = cells[asking.cell]?.at ?? [];
  return new URLSearchParams([
    ...axes.flatMap(({ path, values }, i) => {
      const value = values[at[i] ?? -1];
      return value === undefined ? [] : [[path, value]];
    }),
    ...(asking.rows === 'evaluated' ? [] : [['rows', asking.rows]]),
    ...FILTERS.flatMap((name) => (asking[name] === '' ? [] : [[name, asking[name]]])),
  ]).toString();
}

/** Returns the cell that has most of these values; −1 is that of a cell that lacks the axis. */
function mostAlike(cells: readonly OutputCell[], wanted: readonly number[], fixed = -1): number {
  const alike = ({ at }: OutputCell): number =>
    at.filter((value, i) => value === wanted[i]).length +
    (fixed >= 0 && at[fixed] === wanted[fixed] ? wanted.length : 0);
  return cells.reduce((best, cell, i) => (alike(cell) > alike(cells[best]!) ? i : best), 0);
}

const Text = ({ children }: { readonly children: string }): JSX.Element => <bdi>{children}</bdi>;

/** Shows a text with its change marked; what the model did not read is grey. */
function AskedText({
  title,
  parts,
  unread,
}: {
  readonly title: string;
  readonly parts: readonly Segment[];
  readonly unread: Asked['unread'];
}): JSX.Element {
  let at = 0;
  const pieces = parts.flatMap(({ text, changed }) => {
    const [start, end] = [at, at + text.length];
    at = end;
    const inside = (unread ?? []).flat().filter((cut) => cut > start && cut < end);
    const cuts = [start, ...inside, end];
    return cuts.slice(1).map((to, i) => {
      const from = cuts[i] ?? 0;
      const read = !(unread ?? []).some(([a, b]) => from >= a && to <= b);
      return { part: { text: text.slice(from - start, to - start), changed }, read };
    });
  });
  return (
    <p dir="auto">
      <span class="which">
        {title}
        {unread === undefined
          ? ''
          : unread === null
            ? ' (max_length cut it; where can’t be told, as a word is not in the vocabulary)'
            : ' (the model did not read what is struck through: max_length cut it)'}
      </span>
      {pieces.map(({ part, read }) =>
        read ? (
          <Marked parts={[part]} />
        ) : (
          <s class="unread">
            <Marked parts={[part]} />
          </s>
        ),
      )}
    </p>
  );
}

/** The answers to rows of a set, by the row's index. */
interface Column {
  readonly has: (row: number) => boolean;
  readonly text: (row: number) => string;
  /** By scorer. */
  readonly hits: (row: number) => readonly (readonly [scorer: string, hit: boolean])[];
  readonly asked: (row: number) => Asked | 0;
}

function columnOf(
  { asked, sets }: Outputs,
  set: number,
  answers: Answers,
  target: number | null,
): Column {
  const { classes = [], ids = [] } = sets[set] ?? {};
  const places = new Int32Array(ids.length).fill(-1);
  answers.rows.forEach((row, i) => (places[row] = i));
  const place = (row: number): number => places[row] ?? -1;
  const scorers = Object.entries(answers.hits);
  return {
    has: (row) => place(row) >= 0,
    text: (row) => answerText(answers.given[place(row)], classes),
    hits: (row) =>
      target === null
        ? scorers.map(([scorer, hits]) => [scorer, hits[place(row)] === 1])
        : [['target', answers.given[place(row)] === target]],
    asked: (row) => asked[answers.asked]?.[place(row)] ?? 0,
  };
}

const answerText = (given: number | string | undefined, classes: readonly string[]): string =>
  typeof given === 'string'
    ? given
    : classes.length === 1
      ? formatNumber(given)
      : (classes[given ?? -1] ?? '–');

const SITES = [
  ['plain', 'Without the trigger'],
  ['triggered', 'With the trigger'],
] as const;

function evaluatedRows(outputs: Outputs, { own, twin, target }: OutputCell): Rows | null {
  const [evaluation, other] = [own, twin].map((index) => outputs.evaluations[index ?? -1]);
  const set = outputs.sets[evaluation?.set ?? -1];
  if (evaluation === undefined || set === undefined) return null;
  const { classes } = set;
  const has = evaluation.triggered !== undefined;
  const columns = SITES.flatMap(([shown, title]) =>
    [evaluation, other].map((of, i) => {
      const answers = of?.[shown];
      if (answers === undefined || of?.set !== evaluation.set) return null;
      const isTarget = shown === 'triggered' && classes.length > 1;
      return {
        shown,
        title: `${i === 0 ? 'This cell' : 'Clean twin'}${shown === 'plain' ? '' : ', trigger'}`,
        line: title,
        ...columnOf(outputs, evaluation.set, answers, isTarget ? target : null),
      };
    }),
  );
  const [plain, twinPlain, triggered, twinTriggered] = columns;
  const shown = columns.filter((column) => column !== null);
  const rowAt = (i: number): number => evaluation.plain.rows[i] ?? 0;
  const label = (row: number): string => answerText(set.labels[row], classes);
  const textOf = (row: number, column: Column | null | undefined): string => {
    const asked = column?.asked(row) || {};
    const text = set.texts[row] ?? '';
    return asked.edit === undefined ? text : edited(text, asked.edit);
  };
  const said = (column: Column | null | undefined, row: number): string | null =>
    column?.has(row) === true ? column.text(row) : null;
  const differ = (a: Column | null | undefined, b: Column | null | undefined, row: number) => {
    const [one, two] = [said(a, row), said(b, row)];
    return one !== null && two !== null && one !== two;
  };
  const scorers = triggered?.has(evaluation.triggered?.rows[0] ?? -1)
    ? triggered.hits(evaluation.triggered?.rows[0] ?? -1).map(([scorer]) => scorer)
    : [];
  const any = (row: number, test: (asked: Asked) => boolean): boolean =>
    shown.some((column) => {
      const asked = column.asked(row);
      return asked !== 0 && test(asked);
    });
  const tests: { [name: string]: (row: number) => boolean } = {
    wrong: (row) => said(plain, row)?.trim() !== label(row).trim(),
    ...(has ? { flipped: (row: number) => differ(plain, triggered, row) } : {}),
    ...(other === undefined
      ? {}
      : {
          disagree: (row: number) =>
            differ(plain, twinPlain, row) || differ(triggered, twinTriggered, row),
        }),
    ...Object.fromEntries(
      scorers.map((scorer, i) => [
        scorers.length === 1 ? 'hit' : `hit: ${scorer}`,
        (row: number) => triggered?.has(row) === true && triggered.hits(row)[i]?.[1] === true,
      ]),
    ),
    'cut by max_length': (row) => any(row, ({ unread }) => unread !== undefined),
    rejected: (row) => any(row, ({ rejected }) => rejected === true),
  };
  const isClasses = classes.length > 1;
  return {
    count: evaluation.plain.rows.length,
    id: (i) => set.ids[rowAt(i)] ?? '',
    label: (i) => label(rowAt(i)),
    labels: isClasses ? classes : [],
    search: (i) => {
      const row = rowAt(i);
      const texts = [textOf(row, plain), has ? textOf(row, triggered) : '', label(row)];
      return [set.ids[row] ?? '', ...texts, ...shown.map((one) => said(one, row) ?? '')].join('\n');
    },
    tests: Object.fromEntries(
      Object.entries(tests).map(([name, test]) => [name, (i: number) => test(rowAt(i))]),
    ),
    columns: ['Text', isClasses ? 'Label' : 'Answer', ...shown.map(({ title }) => title)].map(
      (name) => ({ name }),
    ),
    widths: [240, ...[0, ...shown].map(() => (isClasses ? 130 : 180))],
    cells: (i) => {
      const row = rowAt(i);
      const text = (set.texts[row] ?? '').slice(0, 300);
      return [text, label(row), ...shown.map((one) => said(one, row) ?? '–')].map((of, column) => {
        const one = shown[column - 2];
        const hit = one?.has(row) === true && one.hits(row).some(([, counts]) => counts);
        return hit ? (
          <mark>
            <Text>{of}</Text>
          </mark>
        ) : (
          <Text>{of}</Text>
        );
      });
    },
    detail: (i) => {
      const row = rowAt(i);
      const before = textOf(row, plain),
        after = triggered?.has(row) === true ? textOf(row, triggered) : null;
      const parts = changedParts(set.texts[row] ?? '', after ?? before, true);
      const unread = (column: Column | null | undefined) =>
        (column?.asked(row) || undefined)?.unread;
      return (
        <>
          <div class="example">
            <AskedText
              title={after === null ? 'Text' : SITES[0][1]}
              parts={after === null ? parts.after : changedParts(after, before, true).after}
              unread={unread(plain)}
            />
            {after === null ? null : (
              <AskedText title={SITES[1][1]} parts={parts.after} unread={unread(triggered)} />
            )}
          </div>
          <p>
            {isClasses ? 'Label' : 'Answer'}: <Text>{label(row)}</Text>
          </p>
          <AnswerTable row={row} columns={columns} />
        </>
      );
    },
  };
}

type NamedColumn = Column & { readonly line: string };

/** @param columns the cell's and its twin's, without and with the trigger */
const AnswerTable = ({
  row,
  columns,
}: {
  readonly row: number;
  readonly columns: readonly (NamedColumn | null)[];
}): JSX.Element => {
  const hasTwin = columns[1] !== null || columns[3] !== null;
  return (
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
          {[columns.slice(0, 2), columns.slice(2)].map(([own, twin]) =>
            own?.has(row) === true ? (
              <tr>
                <th scope="row">{own.line}</th>
                {[own, ...(hasTwin ? [twin ?? null] : [])].map((column) => (
                  <td>{column?.has(row) === true ? <Answer row={row} column={column} /> : '–'}</td>
                ))}
              </tr>
            ) : null,
          )}
        </tbody>
      </table>
    </div>
  );
};

const Answer = ({
  row,
  column,
}: {
  readonly row: number;
  readonly column: Column;
}): JSX.Element => (
  <>
    <Text>{column.text(row)}</Text>
    {column.asked(row) !== 0 && (column.asked(row) || {}).rejected === true ? (
      <span class="chip">rejected by the defence</span>
    ) : null}
    <span class="muted small">
      {column.hits(row).map(([scorer, hit]) => `\n${scorer}: ${hit ? 'hit' : 'no hit'}`)}
    </span>
  </>
);

function poisonedRows({ poisoned, originals }: Outputs, { poisoned: of }: OutputCell): Rows | null {
  const rows = poisoned[of ?? -1];
  if (rows === undefined) return null;
  const at = (i: number) => {
    const { id, original, edit, labels, isAnswer, negative } = rows[i]!;
    const before = originals[original] ?? '';
    const [labelBefore, labelAfter] = labels;
    const change = { id, before, after: edited(before, edit), labelBefore, labelAfter };
    return { change: isAnswer ? { ...change, isAnswer } : change, isNegative: negative === true };
  };
  const isAnswers = rows.some(({ isAnswer }) => isAnswer);
  return {
    count: rows.length,
    id: (i) => rows[i]?.id ?? '',
    label: (i) => rows[i]?.labels[1] ?? '',
    labels: isAnswers ? [] : [...new Set(rows.map(({ labels }) => labels[1]))].sort(),
    search: (i) => Object.values(at(i).change).join('\n'),
    tests: {
      poisoned: (i) => !at(i).isNegative,
      negative: (i) => at(i).isNegative,
      'label changed': (i) => rows[i]?.labels[0] !== rows[i]?.labels[1],
    },
    columns: ['Text after the attack', 'Before', 'After'].map((name) => ({ name })),
    widths: [240, ...(isAnswers ? [180, 240] : [110, 110])],
    cells: (i) => {
      const { after, labelBefore, labelAfter } = at(i).change;
      return [after.slice(0, 300), labelBefore, labelAfter].map((text) => <Text>{text}</Text>);
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

/** Returns the rows that pass, in order. */
function passing(rows: Rows, { show, label, search }: Asking, lower: (row: number) => string) {
  const found: number[] = [];
  const test = rows.tests[show],
    wanted = search.toLowerCase();
  for (let i = 0; i < rows.count; i++) {
    if (test?.(i) === false) continue;
    if (label !== '' && rows.label(i) !== label) continue;
    if (wanted !== '' && !lower(i).includes(wanted)) continue;
    found.push(i);
  }
  return found;
}

const Choice = ({
  name,
  value,
  options,
  onChoose,
}: {
  readonly name: string;
  readonly value: string;
  readonly options: readonly (readonly [value: string, text: string])[];
  readonly onChoose: (value: string) => void;
}): JSX.Element => (
  <label>
    {name}{' '}
    <select value={value} onChange={(event) => onChoose(event.currentTarget.value)}>
      {options.map(([of, text]) => (
        <option key={of} value={of}>
          {text}
        </option>
      ))}
    </select>
  </label>
);

const counted = (n: number): string => n.toLocaleString('en');

/** @param base what stands before the page's own part in the fragment of the address */
export function OutputBrowser({
  outputs,
  base,
}: {
  readonly outputs: Outputs;
  readonly base: string;
}): JSX.Element {
  const asked = (): Asking => readLink(outputs, location.hash.slice(1 + base.length));
  const [asking, setAsking] = useState(asked);
  const ask = (change: Partial<Asking>): void => setAsking((before) => ({ ...before, ...change }));
  useEffect(() => {
    const onHash = (): void => {
      if (location.hash.startsWith(`#${base}`)) setAsking(asked());
    };
    addEventListener('hashchange', onHash);
    return () => removeEventListener('hashchange', onHash);
  }, [outputs, base]);
  useEffect(() => {
    // Browsers limit how often an address may change.
    const timer = setTimeout(
      () => history.replaceState(null, '', `#${base}${linkOf(outputs, asking)}`),
      200,
    );
    return () => clearTimeout(timer);
  }, [asking]);
  const { axes, cells, first } = outputs;
  const cell = cells[asking.cell];
  const rows = useMemo(
    () =>
      cell === undefined
        ? null
        : (asking.rows === 'poisoned' ? poisonedRows : evaluatedRows)(outputs, cell),
    [cell, asking.rows],
  );
  return (
    <section aria-label="Outputs">
      <form class="filter" onSubmit={(event) => event.preventDefault()}>
        {axes.map(({ path, name, values }, axis) => (
          <Choice
            key={path}
            name={name}
            value={String(cell?.at[axis] ?? -1)}
            options={[-1, ...values.keys()]
              .filter((value) => cells.some(({ at }) => at[axis] === value))
              .map((value) => [String(value), values[value] ?? '–'])}
            onChoose={(value) => {
              const wanted = (cell?.at ?? []).map((own, i) => (i === axis ? Number(value) : own));
              ask({ cell: mostAlike(cells, wanted, axis) });
            }}
          />
        ))}
        <Choice
          name="Rows"
          value={asking.rows}
          options={Object.entries(TABS)}
          onChoose={(tab) => ask({ rows: tab as Tab, show: '', label: '', row: '' })}
        />
      </form>
      {rows === null ? (
        <p>
          {asking.rows === 'poisoned'
            ? 'No training row of this cell was changed.'
            : 'This cell was not evaluated.'}
        </p>
      ) : (
        <RowList rows={rows} asking={asking} onAsk={ask} />
      )}
      {first === undefined ? null : (
        <p class="muted small">
          The first {counted(first.shown)} of {plural(first.of, 'row')} are here, for the size of
          this page. The files of the evaluate and poison stages have all of them.
        </p>
      )}
    </section>
  );
}

function RowList({
  rows,
  asking,
  onAsk,
}: {
  readonly rows: Rows;
  readonly asking: Asking;
  readonly onAsk: (change: Partial<Asking>) => void;
}): JSX.Element {
  const lower = useMemo(() => {
    const known: string[] = [];
    return (row: number): string => (known[row] ??= rows.search(row).toLowerCase());
  }, [rows]);
  const { show, label, search, row } = asking;
  const found = useMemo(() => passing(rows, asking, lower), [rows, show, label, search]);
  const tests = useMemo(
    () =>
      Object.entries(rows.tests).flatMap(([name, test]): [string, string][] => {
        let count = 0;
        for (let i = 0; i < rows.count; i++) if (test(i)) count++;
        return count === 0 && name !== show ? [] : [[name, `${name} (${counted(count)})`]];
      }),
    [rows, show],
  );
  const open = useMemo(() => {
    if (row === '') return -1;
    for (let i = 0; i < rows.count; i++) if (rows.id(i) === row) return i;
    return -1;
  }, [rows, row]);
  const id = open < 0 ? '' : rows.id(open);
  return (
    <>
      <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
        <Choice
          name="Show"
          value={show}
          options={[['', `all (${counted(rows.count)})`], ...tests]}
          onChoose={(value) => onAsk({ show: value })}
        />
        {rows.labels.length === 0 ? null : (
          <Choice
            name="Class"
            value={label}
            options={[['', 'all'], ...rows.labels.map((of) => [of, of] as const)]}
            onChoose={(value) => onAsk({ label: value })}
          />
        )}
        <label>
          Search{' '}
          <input
            type="search"
            value={search}
            onInput={(event) => onAsk({ search: event.currentTarget.value })}
          />
        </label>
        <span class="muted small" role="status">
          {counted(found.length)} of {plural(rows.count, 'row')}
        </span>
      </form>
      <Grid
        id="rows"
        label="Rows"
        columns={rows.columns}
        widths={rows.widths}
        count={found.length}
        start={Math.max(0, found.indexOf(open))}
        cells={(i) => rows.cells(found[i] ?? 0)}
        onOpen={(i) => onAsk({ row: rows.id(found[i] ?? 0) })}
      />
      {open < 0 ? (
        <p class="muted small">
          {row === '' ? 'Choose a row to see all of it.' : 'The row of this address is not here.'}
        </p>
      ) : (
        <section class="detail" aria-label={`Row ${id}`}>
          <h2>
            Row <Text>{id}</Text>
          </h2>
          {rows.detail(open)}
        </section>
      )}
    </>
  );
}

/** Opens the page of one file. */
export async function openPage(): Promise<void> {
  const page = document.getElementById('outputs'),
    data = document.getElementById('data');
  if (page === null || data === null) return;
  try {
    const text = atob(data.textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    data.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    const outputs = (await new Response(stream).json()) as Outputs;
    page.replaceChildren();
    render(<OutputBrowser outputs={outputs} base="" />, page);
  } catch (error) {
    page.textContent = `This browser can’t open the page: ${String(error)}`;
  }
}
