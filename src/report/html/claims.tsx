/** The paper's claims, each with its published evidence, what these runs show, and what decides. */
import type { JSX } from 'preact';
import { type Claim, type ClaimRow, claimsOf } from '../claims.ts';
import { formatDifference, formatNumber } from '../format.ts';
import {
  type Chapter,
  type Column,
  Judged,
  names,
  numbers,
  type PageProps,
  Table,
} from './parts.tsx';

const COLUMNS: readonly Column<ClaimRow>[] = [
  names('Compared', ({ label }) => label),
  numbers('n', ({ a }) => a.length),
  numbers('Difference', ({ difference, kind }) =>
    difference === null ? '–' : formatDifference(difference, kind),
  ),
  numbers('Margin', ({ margin, kind }) => formatNumber(margin, kind)),
  {
    title: 'Verdict',
    kind: 'words',
    value: ({ verdict, kind }) => (verdict ? <Judged verdict={verdict} kind={kind} /> : null),
  },
  { title: 'What would decide it', kind: 'words', value: ({ decides }) => decides || '–' },
];

const ClaimBox = ({ statement, published, rows }: Claim): JSX.Element => (
  <>
    <h3>{statement}</h3>
    <p class="small">Published: {published}</p>
    <Table label={statement} rows={rows} most={60} columns={COLUMNS} />
  </>
);

function Claims({ conditions, comparisons }: PageProps): JSX.Element {
  return (
    <>
      <p>
        The published numbers are of bert-large, rows of GLUE and five seeds, with adapter and
        learning rate changed together; these runs may differ in all of that. A difference is paired
        by seed, with Student’s 95% interval. Held or refuted: the interval, corrected over the rows
        of the claim, excludes zero by the margin; “no effect” is held where it lies within the
        margin.
      </p>
      {claimsOf(conditions, comparisons).map((claim) => (
        <ClaimBox {...claim} />
      ))}
    </>
  );
}

export const claims: Chapter = {
  id: 'claims',
  nav: 'The paper’s claims',
  title: 'The paper’s claims, one by one',
  concerns: ({ conditions, comparisons }) => claimsOf(conditions, comparisons).length > 0,
  parts: [Claims],
};
