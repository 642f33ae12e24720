/** What went wrong, by cause. */
import type { JSX } from 'preact';
import { plural, Text } from './parts.tsx';
import type { RunView } from './run-store.ts';
import type { RunningProps } from './running.tsx';

/** How many stages of a cause are named at most. */
const NAMED = 5;

export function Failures({ view, onOpen, onShow }: RunningProps): JSX.Element {
  const { failures } = view;
  if (failures.length === 0) return <p class="muted">Nothing has failed.</p>;
  return (
    <ul class="failures">
      {failures.map((failure) => (
        <li key={failure.error + String(failure.hint)} class="failed-note">
          <p class="message">
            {failure.internal ? <strong>internal error: </strong> : null}
            <Text>{failure.error}</Text>
          </p>
          {failure.hint === null ? null : (
            <p class="message hint">
              <Text>{failure.hint}</Text>
            </p>
          )}
          <p class="small">
            {plural(failure.count, 'stage')} failed with this
            {failure.blocked > 0 ? `, which blocks ${plural(failure.blocked, 'stage')}` : ''}:
          </p>
          <Named stages={failure.stages.slice(0, NAMED)} view={view} onOpen={onOpen} />
          {failure.count > NAMED ? (
            <button type="button" class="link small" onClick={() => onShow({ state: 'failed' })}>
              show all that failed
            </button>
          ) : null}
        </li>
      ))}
    </ul>
  );
}

/** A list of stages that can be opened. */
export const Named = ({
  stages,
  view,
  onOpen,
}: {
  readonly stages: readonly number[];
  readonly view: RunView;
  readonly onOpen: (index: number) => void;
}): JSX.Element => (
  <ul class="named">
    {stages.map((index) => (
      <li key={index}>
        <button type="button" class="link" onClick={() => onOpen(index)}>
          <Text>{view.stages[index]?.label ?? ''}</Text>
        </button>
      </li>
    ))}
  </ul>
);
