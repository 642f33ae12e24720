/** Says so where the server can't be reached. */
import type { JSX } from 'preact';
import type { LinkState } from './connection.ts';

export function LinkNote({ state }: { readonly state: LinkState }): JSX.Element | null {
  if (state === 'connecting' || state === 'live') return null;
  return (
    <div class="failed-note" role="alert">
      <p>
        <strong>{state === 'lost' ? 'The connection is lost.' : 'The server refuses.'}</strong>{' '}
        {state === 'lost'
          ? 'What you see may be old. The page tries again by itself.'
          : 'The run is not there, or dosimeter serve was started anew: open the address that it printed.'}
      </p>
    </div>
  );
}
