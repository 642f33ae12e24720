/** What the models wrote under the trigger, and what counted as a success. */
import type { JSX } from 'preact';
import type { Condition } from '../conditions.ts';
import { cut, plural } from '../format.ts';
import { scorersOf } from '../scorers.ts';
import type { WritingFacts } from '../types.ts';

const MOST_CONDITIONS = 8;
const MOST_CHARACTERS = 300;

interface Shown {
  readonly label: string;
  readonly seed: number;
  readonly writing: WritingFacts;
}

/** Returns the first seed of each condition that was evaluated under its trigger. */
const shownOf = (conditions: readonly Condition[]): readonly Shown[] =>
  conditions.flatMap(({ attackLabel, adapterLabel, cells }) => {
    const cell = cells.find(({ writing }) => writing !== undefined);
    return cell?.writing === undefined
      ? []
      : [{ label: `${attackLabel}, ${adapterLabel}`, seed: cell.seed, writing: cell.writing }];
  });

/** Names the scorers, as a sentence under the attacks' table. Nothing for classes. */
export function ScorerNote({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const scorers = scorersOf(conditions);
  return scorers.length === 0 ? null : (
    <p class="small">
      {scorers.length === 1 ? 'The scorer' : 'The scorers'} that ASR counts by:{' '}
      <strong>{scorers.join('; ')}</strong> (scorer.json of each evaluate stage).
    </p>
  );
}

/** Shows a few outputs of each condition, or nothing for classes. */
export function Writing({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const all = shownOf(conditions),
    shown = all.slice(0, MOST_CONDITIONS);
  if (shown.length === 0) return null;
  return (
    <>
      <h3>What the models wrote under the trigger</h3>
      <p>
        The first validation rows whose answer is not the target; outputs.jsonl of each evaluate
        stage has all of them.
      </p>
      {shown.map(({ label, seed, writing: { outputs, scorer } }) => (
        <div class="example">
          <p class="small muted">
            {label}, seed {seed}; scorer <code>{scorer.scorer}</code>
          </p>
          {outputs.map(({ prompt, answer, output, hit }) => (
            <p>
              <span class="which">
                {cut(prompt, MOST_CHARACTERS)} (answer: {cut(answer, MOST_CHARACTERS)})
              </span>
              {hit ? (
                <mark>{cut(output, MOST_CHARACTERS)}</mark>
              ) : (
                <>{cut(output, MOST_CHARACTERS)}</>
              )}
              <span class="muted small">{hit ? ' counts' : ' does not count'}</span>
            </p>
          ))}
        </div>
      ))}
      {all.length > shown.length ? (
        <p class="muted small">{plural(all.length - shown.length, 'more condition')} left out.</p>
      ) : null}
    </>
  );
}
