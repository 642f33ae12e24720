/** Whether the server can be reached, and for a screen reader how far the run is. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { RunFacts } from '../wire.ts';
import type { LinkState } from './connection.ts';
import { finished, plural, roughly } from './parts.tsx';

export function LinkNote({ state }: { readonly state: LinkState }): JSX.Element | null {
  if (state === 'connecting' || state === 'live') return null;
  return (
    <div class="failed-note" role="alert">
      <p>
        <strong>
          {state === 'lost' ? 'The connection is lost.' : 'The server refused the request.'}
        </strong>{' '}
        {state === 'lost'
          ? 'This page may be out of date. It tries again by itself.'
          : 'There is no such run, or dosimeter serve was restarted: open the address that it printed.'}
      </p>
    </div>
  );
}

/** The least time between two announcements. */
const EVERY_MS = 20_000;

export function Announcer({
  facts,
  all,
}: {
  readonly facts: RunFacts;
  readonly all: number;
}): JSX.Element {
  const [said, setSaid] = useState('');
  const latest = useRef('');
  latest.current = sentence(facts, all);
  useEffect(() => {
    const timer = setInterval(() => setSaid(latest.current), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (facts.state !== 'running') setSaid(latest.current);
  }, [facts.state]);
  return (
    <p class="unseen" role="status">
      {said}
    </p>
  );
}

function sentence({ state, counts, left }: RunFacts, all: number): string {
  const failed = counts.failed ?? 0;
  return [
    `${finished(counts)} of ${plural(all, 'stage')} done`,
    failed > 0 ? `${failed} failed` : '',
    state === 'running'
      ? left === null
        ? ''
        : `about ${roughly(left)} left`
      : `the run is ${state}`,
  ]
    .filter((part) => part !== '')
    .join(', ');
}
