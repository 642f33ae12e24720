/**
 * The page of outputs: one file, whose script shows the data. It is made where reports are
 * published, not by a stage, so that no stage's key depends on the script.
 */
import { renderToString } from 'preact-render-to-string';
import { browserScript } from './browser-script.ts';
import { Head } from './html/parts.tsx';
import { pageStyle } from './html/style.ts';

/**
 * Returns the page as HTML.
 * @param data the content of `outputs.json.gz`
 * @param report the address of the report
 */
export async function outputsPage({
  name,
  data,
  report,
}: {
  readonly name: string;
  readonly data: Buffer;
  readonly report: string;
}): Promise<string> {
  const script = await browserScript(
    'src/report/browser',
    "import { openPage } from './outputs.tsx'; openPage();",
  );
  const page = (
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
  return `<!doctype html>\n${renderToString(page)}\n`;
}
