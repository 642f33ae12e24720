/**
 * The first screen: the question, what can be said about it, what to know before reading, the
 * answer as a picture, and the facts that every number depends on. After it, what was found: a card
 * for each finding.
 */
import type { JSX } from 'preact';
import type { JsonObject } from '../../api.ts';
import type { Analysis } from '../analysis.ts';
import type { Finding, FindingRow } from '../findings.ts';
import { capital, cut, formatSeconds, list, plural } from '../format.ts';
import { distinct, groupBy } from '../groups.ts';
import { varyingPaths } from '../labels.ts';
import { backendNames } from '../table-facts.ts';
import type { ReportInput } from '../types.ts';
import { type Verdict, verdictText } from '../verdict.ts';
import {
  axesText,
  type Chapter,
  Chip,
  FigureBox,
  Message,
  type PageProps,
  Scroll,
} from './parts.tsx';

const MOST_FAILURES = 12;
const MOST_WARNING = 600;
/** The most columns of a finding that fit into half of the page, or a phone's width. */
const MOST_NARROW = 4;

type Fact = readonly [name: string, value: string];

function seedFacts({ input, conditions }: Analysis): readonly Fact[] {
  const seeds = distinct(input.cells.map(({ seed }) => seed)).sort((a, b) => a - b);
  const failedCells = conditions.flatMap((condition) => [...condition.failedCells]);
  const failedSeeds = distinct(failedCells.map(({ seed }) => seed));
  const failed =
    failedCells.length === 0
      ? '0'
      : `${failedSeeds.length} of ${seeds.length} seeds, in ${plural(failedCells.length, 'cell')}`;
  return [
    ['Seeds', `n = ${seeds.length}${seeds.length <= 8 ? ` (${seeds.join(', ')})` : ''}`],
    ['Failed seeds', failed],
  ];
}

/** Names the attacks whose dose comes to zero rows in any cell; [] if there are none. */
function emptyDoseFacts({ conditions }: Analysis): readonly Fact[] {
  const empty = conditions.filter(
    ({ family, cells }) => family !== 'none' && cells.some(({ receipt }) => receipt?.asked === 0),
  );
  if (empty.length === 0) return [];
  const labels = distinct(empty.map(({ attackLabel }) => attackLabel));
  return [['Poisoned nothing', `${list(labels)}: a dose of zero rows`]];
}

/** Writes the precision of the computation, and how many cells depart from it. */
function precisionText({ cells }: ReportInput, precision: string): string {
  // Returns `; WHAT in 2 of 9 cells`, `; WHAT` if it is so in all cells, and '' if in none.
  const some = (what: string, count: number): string =>
    count === 0
      ? ''
      : `; ${what}${count === cells.length ? '' : ` in ${count} of ${plural(cells.length, 'cell')}`}`;
  const bf16 = cells.filter((cell) => cell.bf16).length;
  const held = distinct(cells.flatMap(({ weights }) => weights ?? []))
    .map((form) =>
      some(`frozen weights in ${form}`, cells.filter((c) => c.weights === form).length),
    )
    .join('');
  return (
    `${precision} (spectra in float64)` +
    `${some('matrix products of training steps in bfloat16', bf16)}${held}`
  );
}

function backendFacts(input: ReportInput): readonly Fact[] {
  const names = backendNames(input),
    precision = (input.environment['backend'] as JsonObject | undefined)?.['precision'];
  return [
    ['Backend', names.length === 0 ? 'none recorded' : list(names)],
    ['Precision', precisionText(input, typeof precision === 'string' ? precision : 'float32')],
  ];
}

/** Returns each source with its roles. Those of validation and test data are left out. */
function sourceFacts({ sources }: ReportInput): readonly Fact[] {
  const facts = Object.entries(sources)
    .filter(([role]) => !/^(?:validation|test) data/.test(role))
    .map(([role, { source }]): Fact => [role, typeof source === 'string' ? source : 'unknown']);
  // A file that several trainings of a chain read is listed once.
  return [...groupBy(facts, ([, source]) => source)].map(([source, of]) => [
    capital(list(of.map(([role]) => role))),
    source,
  ]);
}

function listFacts(analysis: Analysis): readonly Fact[] {
  const { input, conditions } = analysis;
  const cells = input.cells.length.toLocaleString('en');
  const seconds = input.stages
    .map((stage) => stage.seconds)
    .filter((time) => Number.isFinite(time))
    .reduce((sum, time) => sum + time, 0);
  return [
    ...seedFacts(analysis),
    ...emptyDoseFacts(analysis),
    ['Cells', `${cells} (${plural(conditions.length, 'condition')} × seeds)`],
    ...backendFacts(input),
    ...sourceFacts(input),
    ['Compute time', formatSeconds(seconds)],
  ];
}

const StandingBox = ({ standing }: Analysis): JSX.Element => (
  <div class="standing">
    {standing.headline.map((line) => (
      <strong>{line}</strong>
    ))}
    {standing.detail === '' ? null : <p>{standing.detail}</p>}
  </div>
);

/** Lists the caveats and then the warnings of stages; null without any. */
const Caveats = ({ caveats, warnings }: Analysis): JSX.Element | null =>
  caveats.length + warnings.length === 0 ? null : (
    <ul class="caveats" aria-label="Before you read the numbers">
      {caveats.map(({ severe, title, text }) => (
        <li class={severe ? 'severe' : undefined}>
          <strong>{title}.</strong> {text}
        </li>
      ))}
      {warnings.map(({ text, hint, stages }) => (
        <li>
          <strong>Warning{stages > 1 ? ` of ${plural(stages, 'stage')}` : ''}.</strong>{' '}
          <Message text={cut(`${capital(text)} ${hint}`.trimEnd(), MOST_WARNING)} />
        </li>
      ))}
    </ul>
  );

export function Header(props: PageProps): JSX.Element {
  const { input, figures } = props;
  return (
    <header class="top">
      <div class="wrap">
        <p class="eyebrow">dosimeter · experiment report</p>
        <h1>{input.name}</h1>
        {/* Empty in the store; src/run/reports.ts fills in the spec's notes. */}
        <p class="notes" />
        <p class="question">
          Which is hurt more by poisoned training data: LoRA or full fine-tuning?
        </p>
        <StandingBox {...props} />
        <Caveats {...props} />
        {figures.answer.length === 0 ? null : (
          <div class="answer">
            {figures.answer.map((figure) => (
              <FigureBox figure={figure} />
            ))}
          </div>
        )}
        <dl class="facts">
          {listFacts(props).map(([name, value]) => (
            <div>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        <Failures {...props} />
      </div>
    </header>
  );
}

/** Says how many cells and stages failed, and why the first ones did; null if none failed. */
function Failures({ input: { stages, cells }, conditions }: Analysis): JSX.Element | null {
  const failed = stages.filter(({ state }) => state === 'failed');
  const blocked = stages.filter(({ state }) => state === 'blocked').length;
  if (failed.length === 0 && blocked === 0) return null;
  const shown = failed.slice(0, MOST_FAILURES),
    varying = varyingPaths(cells),
    failedCount = conditions.reduce((sum, { failedCells }) => sum + failedCells.size, 0);
  return (
    <div class="failed-note" role="note">
      <p>
        <strong class="bad">
          {failedCount} of {cells.length} cells failed
        </strong>
        : {plural(failed.length, 'stage')} failed
        {blocked > 0 ? `, ${blocked} more could not run because of it` : ''}. Their numbers are
        missing below and are counted as failed, not dropped.
      </p>
      <ul>
        {shown.map((stage) => (
          <li>
            <code>{stage.id}</code> ({axesText(stage, varying)}
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

/** Returns the verdict that all rows with a verdict share; null if there is none. */
function commonVerdict(rows: readonly FindingRow[]): Verdict | null {
  const verdicts = rows.map(({ verdict }) => verdict).filter((verdict) => verdict !== null);
  const [first] = verdicts;
  return first !== undefined &&
    verdicts.every((verdict) => verdictText(verdict) === verdictText(first))
    ? first
    : null;
}

/**
 * Shows a row's difference, and its verdict unless all rows share one.
 * @param title what is compared: on a phone it stands in place of the table's head
 */
const differenceCell = (
  { difference, n, excluded, verdict }: FindingRow,
  title: string,
  common: Verdict | null,
): JSX.Element => (
  <td class="number compared" data-title={title}>
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

function findingTable({ rows, columns, comparison }: Finding, common: Verdict | null): JSX.Element {
  const compares = comparison !== '';
  return (
    <Scroll label="Numbers of this finding">
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
              {row.values.map((value, i) => (
                <td class="number" data-title={columns[i]}>
                  {value}
                </td>
              ))}
              {compares ? differenceCell(row, comparison, common) : null}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/**
 * Draws a finding: its topic, sentence, table and claim. A verdict that all rows share stands
 * beside the claim.
 */
function FindingCard({ finding }: { readonly finding: Finding }): JSX.Element {
  const { topic, sentence, claim, rows, columns, more, see } = finding;
  const common = commonVerdict(rows);
  return (
    <div class={`finding ${columns.length > MOST_NARROW ? 'wide' : 'narrow'}`}>
      <h3>{topic}</h3>
      {sentence === '' ? null : <p>{sentence}</p>}
      {rows.length > 0 && findingTable(finding, common)}
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
