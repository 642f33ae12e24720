/** The end of a log, which is updated as the log grows. */
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Text } from '../../report/browser/rows.tsx';
import type { LogText, StageDetail } from '../wire.ts';
import { followStream, type RunView } from './connection.ts';

const KEPT = 128 * 1024;

export interface Watched {
  readonly detail: StageDetail | null;
  readonly log: { readonly text: string; readonly cut: boolean } | null;
}

/** Follows a stage's details and log, or the run's log if `stage` is null. */
export function useStage(run: string, stage: string | null): Watched {
  const [watched, setWatched] = useState<Watched>({ detail: null, log: null });
  useEffect(() => {
    const of = stage === null ? 'log' : `stages/${encodeURIComponent(stage)}`;
    return followStream(`/api/runs/${encodeURIComponent(run)}/${of}`, {
      onState: () => undefined, // the run's own stream reports the state of the connection
      onEvent(name, data) {
        setWatched((before) =>
          name === 'detail'
            ? { ...before, detail: data as StageDetail }
            : { ...before, log: appendLog(before.log, data as LogText) },
        );
      },
    });
  }, [run, stage]);
  return watched;
}

/**
 * Returns the log with the new text added. Only the last KEPT characters are kept, from the
 * beginning of a line.
 */
function appendLog(before: Watched['log'], { text, anew, cut }: LogText): Watched['log'] {
  const joined = anew || before === null ? text : before.text + text;
  return joined.length <= KEPT
    ? { text: joined, cut: cut || (before?.cut === true && !anew) }
    : { text: joined.slice(joined.indexOf('\n', joined.length - KEPT) + 1), cut: true };
}

/**
 * The text of a log; null if it has not been read yet. While it is scrolled to its end, it stays
 * there as the log grows.
 */
export function LogView({ label, log }: Pick<Watched, 'log'> & { readonly label: string }) {
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (box.current !== null && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [log?.text]);
  if (log === null) return <p class="muted">Reading …</p>;
  if (log.text === '') return <p class="muted">It has written nothing yet.</p>;
  return (
    <>
      {log.cut ? <p class="small muted">Earlier lines are left out.</p> : null}
      <pre
        ref={box}
        class="log"
        tabIndex={0}
        role="region"
        aria-label={label}
        onScroll={({ currentTarget: at }) => {
          atEnd.current = at.scrollTop + at.clientHeight > at.scrollHeight - 20;
        }}
      >
        {log.text}
      </pre>
    </>
  );
}

const SHOWN = 10;

export function RunLog({ view: { facts, notes } }: { readonly view: RunView }): JSX.Element {
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
        {open ? <OpenLog run={facts.id} /> : null}
      </details>
    </>
  );
}

const OpenLog = ({ run }: { readonly run: string }): JSX.Element => (
  <LogView label="Log of the run" log={useStage(run, null).log} />
);
