/** The page of `dosimeter serve`. */
import type { JSX } from 'preact';
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { hasToken, takeToken } from './connection.ts';
import { RunPage } from './run-page.tsx';
import { RunsPage } from './runs-page.tsx';

/** `#/`, `#/run/ID` and `#/run/ID/stage/STAGE`. */
export interface Route {
  readonly run: string | null;
  readonly stage: string | null;
}

function routeOf(hash: string): Route {
  const [, run, stage] = /^#\/run\/([^/]+)(?:\/stage\/([^/]+))?$/.exec(hash) ?? [];
  const decoded = (part: string | undefined): string | null => {
    try {
      return part === undefined ? null : decodeURIComponent(part);
    } catch {
      return null;
    }
  };
  return { run: decoded(run), stage: decoded(stage) };
}

function App(): JSX.Element {
  const [route, setRoute] = useState(() => routeOf(location.hash));
  useEffect(() => {
    const onHash = (): void => {
      takeToken();
      setRoute(routeOf(location.hash));
    };
    addEventListener('hashchange', onHash);
    return () => removeEventListener('hashchange', onHash);
  }, []);
  if (!hasToken()) return <NoToken />;
  return route.run === null ? (
    <RunsPage />
  ) : (
    <RunPage key={route.run} id={route.run} stage={route.stage} />
  );
}

export const NoToken = (): JSX.Element => (
  <main class="wrap">
    <section>
      <h1>Open the whole address</h1>
      <p>
        This page needs the token in the address that <code>dosimeter serve</code> printed. Each
        start of the command makes a new token, and each tab keeps its own.
      </p>
    </section>
  </main>
);

takeToken();
const page = document.getElementById('page');
if (page !== null) {
  page.replaceChildren();
  render(<App />, page);
}
