/** A note that is shown while the server can't be reached. */
import type { JSX } from 'preact';
import type { LinkState } from './connection.ts';

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
