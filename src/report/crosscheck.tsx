/** The page of a crosscheck: what two engines made of the same cells, and how far they differ. */
import type { JSX } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { capital } from './format.ts';
import { type Column, Head, names, numbers, Table, texts } from './html/parts.tsx';

export interface CrosscheckView {
  readonly name: string;
  readonly specFile: string;
  readonly cells: number;
  /** The engines' names, as in keys. */
  readonly engines: readonly [string, string];
  readonly verdict: { readonly agree: boolean; readonly text: string };
  /**
   * Says whether the losses point to rounding or to an error; null if the engines agree, or if no
   * losses were compared.
   */
  readonly growth: string | null;
  /** Each row has the largest difference of one number. Rows with larger differences come first. */
  readonly tables: readonly {
    /** What the rows are; null for the first table. */
    readonly title: string | null;
    readonly columns: readonly string[];
    readonly rows: readonly (readonly string[])[];
  }[];
  readonly notes: readonly string[];
  readonly mutations: readonly { readonly text: string; readonly seen: boolean }[];
}

/** The layout of columns by their titles. The other columns hold plain texts. */
const KINDS: { readonly [title: string]: typeof numbers } = {
  stage: names,
  pairs: numbers,
  'largest difference': numbers,
  a: numbers,
  b: numbers,
};

/** Returns a column for each title; the i-th shows the i-th text of a row. */
const makeColumns = (titles: readonly string[]): readonly Column<readonly string[]>[] =>
  titles.map((title, i) => (KINDS[title] ?? texts)(title, (row) => row[i]));

function Page({ name, specFile, cells, engines, ...view }: CrosscheckView): JSX.Element {
  const { verdict, growth, tables, notes, mutations } = view;
  return (
    <html lang="en">
      <Head name={`${name}, crosscheck`} />
      <body>
        <header class="top">
          <div class="wrap">
            <p class="eyebrow">dosimeter · crosscheck of two engines</p>
            <h1>{name}</h1>
            <div class="standing">
              <strong>{capital(verdict.text)}</strong>
              {growth === null ? null : <p>{growth}</p>}
            </div>
            <dl class="facts">
              {[
                ['Spec', specFile],
                ['Cells', String(cells)],
                ['a', engines[0]],
                ['b', engines[1]],
              ].map(([term, value]) => (
                <div>
                  <dt>{term}</dt>
                  <dd>{value}</dd>
                </div>
              ))}
            </dl>
          </div>
        </header>
        <main class="wrap">
          <section>
            <h2>The largest difference of each number</h2>
            <p>
              |a − b| / max(1, |a|, |b|), over all cells. Two engines that compute the same differ
              by rounding alone.
            </p>
            {tables.map(({ title, columns, rows }) => (
              <>
                {title === null ? null : <h3>{capital(title)}</h3>}
                <Table label={title ?? 'numbers'} columns={makeColumns(columns)} rows={rows} />
              </>
            ))}
            {notes.map((note) => (
              <p>{note}</p>
            ))}
          </section>
          {mutations.length === 0 ? null : (
            <section>
              <h2>Errors that were put into the second engine</h2>
              <ul>
                {mutations.map(({ text, seen }) => (
                  <li>
                    {text} <span class={seen ? 'chip held' : 'chip refuted'}>{seenText(seen)}</span>
                  </li>
                ))}
              </ul>
            </section>
          )}
        </main>
        <footer>
          <div class="wrap">One file, no request to any network.</div>
        </footer>
      </body>
    </html>
  );
}

export const seenText = (seen: boolean): string => (seen ? 'seen' : 'not seen');

export const crosscheckPage = (view: CrosscheckView): string =>
  `<!doctype html>\n${renderToString(<Page {...view} />)}\n`;
