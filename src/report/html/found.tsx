/** What was found: a card for each finding. */
import type { JSX } from 'preact';
import type { Finding, FindingRow } from '../findings.ts';
import { plural } from '../format.ts';
import { type Verdict, verdictText } from '../verdict.ts';
import { type Chapter, Chip, type PageProps } from './parts.tsx';

/** Returns the verdict that all rows have in common, or null if they differ or have none. */
function commonVerdict(rows: readonly FindingRow[]): Verdict | null {
  const verdicts = rows.map(({ verdict }) => verdict).filter((verdict) => verdict !== null);
  const [first] = verdicts;
  return first !== undefined &&
    verdicts.every((verdict) => verdictText(verdict) === verdictText(first))
    ? first
    : null;
}

const Difference = ({
  row: { difference, n, excluded, verdict },
  common,
}: {
  readonly row: FindingRow;
  readonly common: Verdict | null;
}): JSX.Element => (
  <td class="number compared">
    {difference === null ? null : (
      <>
        <span class="whole">{difference}</span> <span class="muted whole">n = {n}</span>
      </>
    )}
    {excluded === '' ? null : <span class="bad small"> {excluded}</span>}
    {common === null && verdict !== null ? (
      <>
        {' '}
        <span class={`chip ${verdict.state}`}>{verdict.state}</span>
      </>
    ) : null}
  </td>
);

function FindingTable({
  finding: { rows, columns, comparison },
  common,
}: {
  readonly finding: Finding;
  readonly common: Verdict | null;
}): JSX.Element {
  const compares = comparison !== '';
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Numbers of this finding">
      <table>
        <thead>
          <tr>
            <td />
            {columns.map((title) => (
              <th scope="col" class="number">
                {title}
              </th>
            ))}
            {compares ? (
              <th scope="col" class="number compared">
                {comparison} [95%]
              </th>
            ) : null}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              <th scope="row">{row.label}</th>
              {row.values.map((value) => (
                <td class="number">{value}</td>
              ))}
              {compares ? <Difference row={row} common={common} /> : null}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function FindingCard({ finding }: { readonly finding: Finding }): JSX.Element {
  const { topic, sentence, claim, rows, more, see } = finding;
  const common = commonVerdict(rows);
  return (
    <div class="finding">
      <h3>{topic}</h3>
      {sentence === '' ? null : <p>{sentence}</p>}
      {rows.length === 0 ? null : <FindingTable finding={finding} common={common} />}
      {claim === null ? null : (
        <p class="small muted claim">
          The paper’s claim: “{claim}”. {common ? <Chip verdict={common} /> : null}
        </p>
      )}
      {more > 0 ? <p class="muted small">{plural(more, 'more row')} in the tables below.</p> : null}
      {see === undefined ? null : (
        <p class="small">
          <a href={`#${see.id}`}>{see.title}</a>
        </p>
      )}
    </div>
  );
}

function Findings({ findings }: Pick<PageProps, 'findings'>): JSX.Element {
  if (findings.length === 0)
    return <p>No cell of this grid has results to compare: nothing was found.</p>;
  return (
    <>
      <p class="muted small">
        Means over seeds; differences are paired by seed, n is the number of complete pairs,
        intervals are 95% t-intervals before correction; two seeds have both values. Verdicts and
        evidence follow the rules under <a href="#results">Results</a>.
      </p>
      <div class="findings">
        {findings.map((finding) => (
          <FindingCard finding={finding} />
        ))}
      </div>
    </>
  );
}

export const found: Chapter = {
  id: 'found',
  nav: 'Found',
  title: 'What was found',
  parts: [Findings],
};
