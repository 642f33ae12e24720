/**
 * Shows one cell: the rows that its model was asked about, with its answers beside those of its
 * clean twin, or its poisoned training rows. The address holds what is shown: the cell by its axis
 * values, which of the two lists, the filters and the open row.
 */
import { type JSX, render } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { plural } from '../format.ts';
import type { OutputCell, Outputs } from '../outputs.ts';
import { Grid } from './grid.tsx';
import { evaluatedRows, poisonedRows, type Rows, Text } from './rows.tsx';

const TABS = { evaluated: 'Evaluated rows', poisoned: 'Poisoned training rows' };
type Tab = keyof typeof TABS;

/** Says which rows each tab shows, and where the other rows are. */
const SCOPES: { readonly [tab in Tab]: string } = {
  evaluated:
    'Validation rows, as they are and under the trigger of the attack that the cell studies. ' +
    'Test rows, and rows under other triggers, are in the files of the evaluate stages.',
  poisoned:
    'Training rows that the attack which the cell studies has changed or added. Clean rows, and ' +
    'what attacks on other trainings of a chain changed, are in the files of the data and poison ' +
    'stages.',
};

/** Says what the background of a text means. */
const LEGENDS: { readonly [tab in Tab]: string } = {
  evaluated:
    'in the list, an answer that counts as a success: the target class under the trigger, or what ' +
    'a scorer counts. In an opened row, what the trigger changes.',
  poisoned: 'in an opened row, what the attack changed.',
};

/** What the page shows. */
interface Asking {
  readonly cell: number;
  readonly rows: Tab;
  /** The name in `Rows.tests` of the filter that rows must pass; '' for none. */
  readonly show: string;
  /** The class that rows must have; '' for any. */
  readonly label: string;
  /** The text that rows must contain; '' for any. */
  readonly search: string;
  /** The id of the open row; '' for none. */
  readonly row: string;
}

const FILTERS = ['show', 'label', 'search', 'row'] as const;

/**
 * Reads what an address asks for. The cell is the one that shares most of the axis values in the
 * address. If the address names no axis, it is the first cell with a clean twin, or else cell 0.
 */
function readLink({ axes, cells }: Outputs, text: string): Asking {
  const asked = new URLSearchParams(text);
  const wanted = axes.map(({ path, values }) => values.indexOf(asked.get(path) ?? ''));
  const first = cells.findIndex(({ twin }) => twin !== null);
  const [show = '', label = '', search = '', row = ''] = FILTERS.map(
    (name) => asked.get(name) ?? '',
  );
  return {
    cell: axes.some(({ path }) => asked.has(path)) ? mostAlike(cells, wanted) : Math.max(0, first),
    rows: asked.get('rows') === 'poisoned' ? 'poisoned' : 'evaluated',
    ...{ show, label, search, row },
  };
}

/** Writes the part of an address from which `readLink` reads `asking` again. */
function writeLink({ axes, cells }: Outputs, asking: Asking): string {
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

/**
 * Returns the index of the cell that shares most of the wanted values.
 * @param wanted for each axis the index of a value; −1 for none
 * @param fixed the index of an axis whose value counts more than all others; −1 for none
 */
function mostAlike(cells: readonly OutputCell[], wanted: readonly number[], fixed = -1): number {
  const shared = ({ at }: OutputCell): number =>
    at.filter((value, i) => value === wanted[i]).length +
    (fixed >= 0 && at[fixed] === wanted[fixed] ? wanted.length : 0);
  return cells.reduce((best, cell, i) => (shared(cell) > shared(cells[best]!) ? i : best), 0);
}

const rowsThat = ({ count }: Rows, passes: (row: number) => boolean): number[] =>
  Array.from({ length: count }, (_, row) => row).filter(passes);

/**
 * Returns the indexes of the rows that pass all filters; a `show` that the rows do not know lets
 * none pass. `lower` returns a row's text in lower case.
 */
function passingRows(rows: Rows, { show, label, search }: Asking, lower: (row: number) => string) {
  const wanted = search.toLowerCase();
  return rowsThat(
    rows,
    (row) =>
      (show === '' || rows.tests[show]?.(row) === true) &&
      (label === '' || rows.label(row) === label) &&
      (wanted === '' || lower(row).includes(wanted)),
  );
}

export const Choice = ({
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

const formatCount = (n: number): string => n.toLocaleString('en');

/**
 * Shows the outputs of one cell, and the controls that choose the cell and its rows.
 * @param base the text in the address's fragment before this page's part
 */
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
  const { axes, cells } = outputs;
  const cell = cells[asking.cell];
  const rows = useMemo(
    () =>
      cell === undefined
        ? null
        : (asking.rows === 'poisoned' ? poisonedRows : evaluatedRows)(outputs, cell),
    [cell, asking.rows],
  );
  const label = rows?.labels.includes(asking.label) ? asking.label : '';
  useEffect(() => {
    // Browsers limit how often an address may change, so it changes only after a pause. An address
    // that leads to another part of the page is left alone.
    const timer = setTimeout(() => {
      if (location.hash === '' || location.hash.startsWith(`#${base}`))
        history.replaceState(null, '', `#${base}${writeLink(outputs, { ...asking, label })}`);
    }, 200);
    return () => clearTimeout(timer);
  }, [asking, label]);
  return (
    <section aria-label="Outputs">
      <p class="muted small">
        {SCOPES[asking.rows]} <mark>Marked</mark>: {LEGENDS[asking.rows]}
      </p>
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
        <RowList rows={rows} asking={{ ...asking, label }} onAsk={ask} />
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
  const found = useMemo(() => passingRows(rows, asking, lower), [rows, show, label, search]);
  // The options of `Show`: filters that any row passes, and the chosen one, even if no row passes
  // it or these rows do not know it.
  const tests = useMemo(() => {
    const lacking = show === '' || Object.hasOwn(rows.tests, show) ? {} : { [show]: () => false };
    return Object.entries({ ...rows.tests, ...lacking }).flatMap(
      ([name, test]): [string, string][] => {
        const count = rowsThat(rows, test).length;
        return count === 0 && name !== show ? [] : [[name, `${name} (${formatCount(count)})`]];
      },
    );
  }, [rows, show]);
  // The index of the open row; −1 if none is open, or if it is not among these rows.
  const open = useMemo(
    () => (row === '' ? undefined : rowsThat(rows, (one) => rows.id(one) === row)[0]) ?? -1,
    [rows, row],
  );
  const id = open < 0 ? '' : rows.id(open);
  return (
    <>
      <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
        <Choice
          name="Show"
          value={show}
          options={[['', `all (${formatCount(rows.count)})`], ...tests]}
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
          {formatCount(found.length)} of {plural(rows.count, 'row')}
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
      {rows.count === rows.of ? null : (
        <p class="muted small">
          The first {formatCount(rows.count)} of {plural(rows.of, 'row')} are here, for the size of
          this page. The files of the evaluate and poison stages have all of them.
        </p>
      )}
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

/**
 * Shows the outputs that this page holds as compressed JSON, or why the browser can't. Does nothing
 * on a page without the elements for it.
 */
export async function openPage(): Promise<void> {
  const page = document.getElementById('outputs'),
    data = document.getElementById('data');
  if (page === null || data === null) return;
  try {
    const bytes = Uint8Array.from(atob(data.textContent), (byte) => byte.charCodeAt(0));
    data.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    const outputs = (await new Response(stream).json()) as Outputs;
    page.replaceChildren();
    render(<OutputBrowser outputs={outputs} base="" />, page);
  } catch (error) {
    page.textContent = `This browser can’t open the page: ${String(error)}`;
  }
}
