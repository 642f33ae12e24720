/** The figures and tables that the spec asks for. */
import type { JSX } from 'preact';
import type { DrawnEntry, DrawnTable } from '../entries.ts';
import { type Chapter, CsvLink, Figures, names, numbers, type PageProps, Table } from './parts.tsx';

type Row = DrawnTable['body'][number];

function OwnTable({ table }: { readonly table: DrawnTable }): JSX.Element {
  const { name, title, caption, axes, head, body, notes, csv } = table;
  const columns = head.map((text, i) =>
    (i < axes ? names : numbers)<Row>(text, (row) => row[i] ?? ''),
  );
  return (
    <div id={`table-${name}`}>
      <h3>{title}</h3>
      {caption === '' ? null : <p>{caption}</p>}
      <Table label={title} columns={columns} rows={body} />
      {notes.map((note) => (
        <p class="muted small">{note}</p>
      ))}
      <p class="small">
        <CsvLink name={name} csv={csv} />
      </p>
    </div>
  );
}

const Lacking = ({ entries }: { readonly entries: readonly DrawnEntry[] }): JSX.Element | null =>
  entries.every(({ lacks }) => lacks.length === 0) ? null : (
    <ul class="small">
      {entries.flatMap(({ name, lacks }) =>
        lacks.map((lack) => (
          <li>
            <code>{name}</code>: {lack}.
          </li>
        )),
      )}
    </ul>
  );

const Entries = ({ entries }: PageProps): JSX.Element => (
  <>
    <Figures figures={entries.flatMap(({ figures }) => figures)} />
    {entries.map(({ table }) => (table === null ? null : <OwnTable table={table} />))}
    <Lacking entries={entries} />
  </>
);

export const ownEntries: Chapter = {
  id: 'own',
  nav: 'This spec',
  title: 'Figures and tables of this spec',
  concerns: ({ input: { entries } }) =>
    entries !== undefined && entries.figures.length + entries.tables.length > 0,
  parts: [Entries],
};
