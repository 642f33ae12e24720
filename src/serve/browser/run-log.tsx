/** The notes of a run, and its log, which is read once it is opened. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Note } from '../wire.ts';
import { LogView, useStage } from './log-view.tsx';
import { Text } from './parts.tsx';

/** The number of notes that are shown, newest first. */
const SHOWN = 10;

export function RunLog({
  run,
  notes,
}: {
  readonly run: string;
  readonly notes: readonly Note[];
}): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      {notes.length === 0 ? null : (
        <ul class="notes">
          {notes
            .slice(-SHOWN)
            .reverse()
            .map(({ at, text }, i) => (
              <li key={`${String(at)} ${i}`}>
                {at === null ? null : (
                  <span class="muted">{new Date(at).toLocaleTimeString()} </span>
                )}
                <Text>{text}</Text>
              </li>
            ))}
        </ul>
      )}
      <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
        <summary>The log of the run</summary>
        {open ? <OpenLog run={run} /> : null}
      </details>
    </>
  );
}

const OpenLog = ({ run }: { readonly run: string }): JSX.Element => (
  <LogView label="Log of the run" log={useStage(run, null).log} />
);
