/**
 * Writes the whole document. Its content security policy forbids every request, so that injected
 * content could not contact a server.
 */
import { createHash } from 'node:crypto';
import type { JSX } from 'preact';
import { renderToString } from 'preact-render-to-string';
import type { Analysis } from '../analysis.ts';
import type { DrawnFigures } from '../figures/index.ts';
import type { ChapterProps } from './chapter.ts';
import { CHAPTERS } from './chapters.ts';
import { Header } from './header.tsx';
import { script } from './script.ts';
import { style } from './style.ts';

const scriptHash = createHash('sha256').update(script).digest('base64');
const policy = [
  "default-src 'none'",
  'img-src data:',
  "style-src 'unsafe-inline'",
  `script-src 'sha256-${scriptHash}'`,
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const Head = ({ name }: { readonly name: string }): JSX.Element => (
  <head>
    <meta charSet="utf-8" />
    <meta http-equiv="Content-Security-Policy" content={policy} />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="referrer" content="no-referrer" />
    <title>{`${name} · dosimeter`}</title>
    <link rel="icon" href="data:," />
    <style dangerouslySetInnerHTML={{ __html: style }} />
  </head>
);

function Page(props: ChapterProps): JSX.Element {
  const chapters = CHAPTERS.filter(({ concerns }) => concerns?.(props.analysis) ?? true);
  return (
    <html lang="en">
      <Head name={props.analysis.input.name} />
      <body>
        <Header analysis={props.analysis} answer={props.figures.answer} />
        <nav aria-label="Chapters">
          <div class="wrap">
            {chapters.map(({ id, nav }) => (
              <a href={`#${id}`}>{nav}</a>
            ))}
          </div>
        </nav>
        <main class="wrap">
          {chapters.map(({ id, title, draw }) => (
            <section id={id}>
              <h2>{title}</h2>
              {draw(props)}
            </section>
          ))}
        </main>
        <footer>
          <div class="wrap">
            One file, no request to any network. Text from data sets is shown as text.
          </div>
        </footer>
        <script dangerouslySetInnerHTML={{ __html: script }} />
      </body>
    </html>
  );
}

export const renderPage = (analysis: Analysis, figures: DrawnFigures): string =>
  `<!doctype html>\n${renderToString(<Page analysis={analysis} figures={figures} />)}\n`;
