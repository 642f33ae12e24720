/**
 * The page `NAME,page=outputs.html`: one file, with the data compressed in it and a script that
 * shows them. It is made where reports are published, so that no key depends on its script.
 */
import type { JSX } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { browserScript } from './browser-script.ts';
import { Head } from './html/parts.tsx';
import { pageStyle } from './html/style.ts';

interface PageParts {
  /** The experiment's name. */
  readonly name: string;
  /** The content of `outputs.json.gz`. */
  readonly data: Buffer;
  /** The address of the report. */
  readonly report: string;
}

function Page({
  name,
  data,
  report,
  script,
}: PageParts & { readonly script: string }): JSX.Element {
  return (
    <html lang="en">
      <Head name={`${name}, outputs`} script={script} css={pageStyle} />
      <body>
        <header class="top">
          <div class="wrap">
            <p class="eyebrow">
              dosimeter · outputs · <a href={report}>report</a>
            </p>
            <h1>{name}</h1>
          </div>
        </header>
        <main class="wrap" id="outputs">
          <p role="status">Opening …</p>
          <noscript>
            <p>This page needs JavaScript.</p>
          </noscript>
        </main>
        <footer>
          <div class="wrap">
            One file, no request to any network. Text from data sets and models is shown as text.
          </div>
        </footer>
        <script
          type="text/plain"
          id="data"
          dangerouslySetInnerHTML={{ __html: data.toString('base64') }}
        />
        <script dangerouslySetInnerHTML={{ __html: script }} />
      </body>
    </html>
  );
}

export async function outputsPage(parts: PageParts): Promise<string> {
  const script = await browserScript(
    'src/report/browser',
    "import { openPage } from './outputs.tsx'; openPage();",
  );
  return `<!doctype html>\n${renderToString(<Page {...parts} script={script} />)}\n`;
}
