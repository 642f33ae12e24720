/** The first screen: the question, what may be said, the facts that every number depends on, and the findings. */
import type { JSX } from 'preact';
import type { JsonObject, StageFacts } from '../../api.ts';
import type { Caveat } from '../caveats.ts';
import { type Condition, distinct } from '../conditions.ts';
import type { Finding, FindingRow, Standing } from '../findings.ts';
import { cut, formatSeconds, list, plural } from '../format.ts';
import type { Figure, ReportInput } from '../types.ts';
import { type Verdict, verdictText } from '../verdict.ts';
import { axesText, Chip, FigureBox } from './parts.tsx';

interface SummaryProps {
  readonly input: ReportInput;
  readonly conditions: readonly Condition[];
  readonly findings: readonly Finding[];
  readonly standing: Standing;
  /** The answer as a picture. */
  readonly answer: readonly Figure[];
  readonly caveats: readonly Caveat[];
}

const MOST_FAILURES = 12;

const Caveats = ({ caveats }: { readonly caveats: readonly Caveat[] }): JSX.Element | null =>
  caveats.length === 0 ? null : (
    <ul class="caveats" aria-label="Before the numbers are read">
      {caveats.map(({ severe, title, text }) => (
        <li class={severe ? 'severe' : undefined}>
          <strong>{title}.</strong> {text}
        </li>
      ))}
    </ul>
  );

export function Header({
  input,
  conditions,
  standing,
  answer,
  caveats,
}: Omit<SummaryProps, 'findings'>): JSX.Element {
  const seeds = distinct(input.cells.map(({ seed }) => seed)).sort((a, b) => a - b);
  const failedCells = conditions.flatMap(({ failures }) => [...failures.keys()]);
  const failedSeeds = distinct(failedCells.map(({ seed }) => seed));
  const empty = distinct(
    conditions
      .filter(
        ({ family, cells }) =>
          family !== 'none' && cells.some(({ receipt }) => receipt?.asked === 0),
      )
      .map(({ attackLabel }) => attackLabel),
  );
  const seconds = input.stages.reduce(
    (sum, stage) => sum + (Number.isFinite(stage.seconds) ? stage.seconds : 0),
    0,
  );
  const sources = Object.entries(input.sources);
  // Every result of this run was computed by one release: it is in their keys.
  const backend = (input.environment['backend'] ?? {}) as JsonObject;
  const facts: readonly (readonly [string, string])[] = [
    ['Seeds', `n = ${seeds.length}${seeds.length <= 8 ? ` (${seeds.join(', ')})` : ''}`],
    [
      'Failed seeds',
      failedCells.length === 0
        ? '0'
        : `${failedSeeds.length} of ${seeds.length} seeds, in ${plural(failedCells.length, 'cell')}`,
    ],
    ...(empty.length === 0
      ? []
      : [['Poisoned nothing', `${list(empty)}: a dose of zero rows`] as const]),
    [
      'Cells',
      `${input.cells.length.toLocaleString('en')} (${plural(conditions.length, 'condition')} × seeds)`,
    ],
    [
      'Backend',
      input.backends.length === 0
        ? 'none recorded'
        : list(
            input.backends.map((name) =>
              name === backend['name'] ? String(backend['version'] ?? name) : name,
            ),
          ),
    ],
    ['Precision', `${String(backend['precision'] ?? 'float32')} (spectra in float64)`],
    ...sources
      .filter(([role]) => role !== 'validation data')
      .map(([role, source]): [string, string] => [
        role === 'model' ? 'Model' : 'Data',
        String(source['source'] ?? 'unknown'),
      ]),
    ['Compute time', formatSeconds(seconds)],
  ];
  return (
    <header class="top">
      <div class="wrap">
        <p class="eyebrow">dosimeter · experiment report</p>
        <h1>{input.name}</h1>
        <p class="question">
          Which is hurt more by poisoned training data: LoRA or full fine-tuning?
        </p>
        <div class="standing">
          {standing.headline.map((line) => (
            <strong>{line}</strong>
          ))}
          {standing.detail === '' ? null : <p>{standing.detail}</p>}
        </div>
        <Caveats caveats={caveats} />
        {answer.length === 0 ? null : (
          <div class="answer">
            {answer.map((figure) => (
              <FigureBox figure={figure} />
            ))}
          </div>
        )}
        <dl class="facts">
          {facts.map(([name, value]) => (
            <div>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        <Failures stages={input.stages} cells={failedCells.length} of={input.cells.length} />
      </div>
    </header>
  );
}

function Failures({
  stages,
  cells,
  of,
}: {
  readonly stages: readonly StageFacts[];
  readonly cells: number;
  readonly of: number;
}): JSX.Element | null {
  const failed = stages.filter(({ state }) => state === 'failed');
  const blocked = stages.filter(({ state }) => state === 'blocked').length;
  if (failed.length === 0 && blocked === 0) return null;
  const shown = failed.slice(0, MOST_FAILURES);
  return (
    <div class="failed-note" role="note">
      <p>
        <strong class="bad">
          {cells} of {of} cells failed
        </strong>
        : {plural(failed.length, 'stage')} failed
        {blocked > 0 ? `, ${blocked} more could not run because of it` : ''}. Their numbers are
        missing below and are counted as failed, not dropped.
      </p>
      <ul>
        {shown.map((stage) => (
          <li>
            <code>{stage.id}</code> ({axesText(stage)}
            {stage.seed === null ? '' : `, seed ${stage.seed}`}):{' '}
            {cut(stage.error ?? 'no message', 400)}
          </li>
        ))}
        {failed.length > shown.length ? (
          <li>
            {plural(failed.length - shown.length, 'more failed stage')} in the table of stages.
          </li>
        ) : null}
      </ul>
    </div>
  );
}

/** One line where every row has the same verdict, else one a row. */
const shared = (rows: readonly FindingRow[]): Verdict | null => {
  const first = rows[0]?.verdict ?? null;
  return first !== null &&
    rows.every(({ verdict }) => verdict !== null && verdictText(verdict) === verdictText(first))
    ? first
    : null;
};

function FindingTable({
  rows,
  columns,
  comparison,
  common,
}: Pick<Finding, 'rows' | 'columns' | 'comparison'> & {
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
          {rows.map(({ label, values, difference, n, excluded, verdict }) => (
            <tr>
              <th scope="row">{label}</th>
              {values.map((value) => (
                <td class="number">{value}</td>
              ))}
              {compares ? (
                <td class="number compared">
                  {difference === null ? null : (
                    <>
                      <span class="whole">{difference}</span>{' '}
                      <span class="muted whole">n = {n}</span>
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
              ) : null}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function FindingCard({
  finding: { topic, sentence, columns, comparison, claim, rows, more },
}: {
  readonly finding: Finding;
}): JSX.Element {
  const common = shared(rows.filter(({ verdict }) => verdict !== null));
  return (
    <div class="finding">
      <h3>{topic}</h3>
      {sentence === '' ? null : <p>{sentence}</p>}
      {rows.length === 0 ? null : (
        <FindingTable rows={rows} columns={columns} comparison={comparison} common={common} />
      )}
      {claim === null ? null : (
        <p class="small muted claim">
          The paper’s claim: “{claim}”. {common ? <Chip verdict={common} /> : null}
        </p>
      )}
      {more > 0 ? <p class="muted small">{plural(more, 'more row')} in the tables below.</p> : null}
    </div>
  );
}

export function Findings({ findings }: { readonly findings: readonly Finding[] }): JSX.Element {
  if (findings.length === 0)
    return <p>No cell of this grid has results to compare: nothing was found.</p>;
  return (
    <>
      <p class="muted small">
        Means over seeds; differences are paired by seed, n counts whole pairs, intervals are 95%
        t-intervals before correction. Verdicts follow the rule under <a href="#results">Results</a>
        .
      </p>
      <div class="findings">
        {findings.map((finding) => (
          <FindingCard finding={finding} />
        ))}
      </div>
    </>
  );
}
