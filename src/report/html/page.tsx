/** The whole document. A content policy forbids every request, so nothing that slips in can call out. */
import { createHash } from 'node:crypto';
import type { JSX } from 'preact';
import { renderToString } from 'preact-render-to-string';
import type { Caveat } from '../caveats.ts';
import type { Condition } from '../conditions.ts';
import type { Comparisons, Finding, Standing } from '../findings.ts';
import type { Figure, ReportInput } from '../types.ts';
import { Asked } from './asked.tsx';
import { Corrections } from './corrections.tsx';
import { Examples } from './examples.tsx';
import { Section } from './parts.tsx';
import { Provenance, Stages } from './provenance.tsx';
import { Results } from './results.tsx';
import { script } from './script.ts';
import { style } from './style.ts';
import { Findings, Header } from './summary.tsx';
import { Premise, Theory } from './theory.tsx';

export interface PageProps {
  readonly input: ReportInput;
  readonly conditions: readonly Condition[];
  readonly comparisons: Comparisons;
  readonly findings: readonly Finding[];
  readonly standing: Standing;
  readonly caveats: readonly Caveat[];
  readonly figures: {
    readonly answer: readonly Figure[];
    readonly scores: readonly Figure[];
    readonly axes: readonly Figure[];
    readonly losses: readonly Figure[];
    readonly steps: readonly Figure[];
    readonly information: readonly Figure[];
    readonly spectra: readonly Figure[];
    readonly maps: readonly Figure[];
    /** Rank × variance. */
    readonly ranks: readonly Figure[];
    readonly stages: Figure | null;
  };
  readonly undrawn: number;
}

const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'; base-uri 'none'; form-action 'none'`;

const CHAPTERS: readonly (readonly [string, string])[] = [
  ['found', 'Found'],
  ['asked', 'Asked'],
  ['results', 'Results'],
  ['theory', 'Fisher and kernels'],
  ['premise', 'Premise'],
  ['measured', 'Against the paper'],
  ['rows', 'Poisoned rows'],
  ['stages-run', 'How it ran'],
  ['provenance', 'Provenance'],
];

function Page({
  input,
  conditions,
  comparisons,
  findings,
  standing,
  caveats,
  figures,
  undrawn,
}: PageProps): JSX.Element {
  return (
    <html lang="en">
      <head>
        <meta charSet="utf-8" />
        <meta http-equiv="Content-Security-Policy" content={policy} />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="referrer" content="no-referrer" />
        <title>{`${input.name} · dosimeter`}</title>
        <link rel="icon" href="data:," />
        <style dangerouslySetInnerHTML={{ __html: style }} />
      </head>
      <body>
        <Header
          input={input}
          conditions={conditions}
          standing={standing}
          answer={figures.answer}
          caveats={caveats}
        />
        <nav aria-label="Chapters">
          <div class="wrap">
            {CHAPTERS.map(([id, title]) => (
              <a href={`#${id}`}>{title}</a>
            ))}
          </div>
        </nav>
        <main class="wrap">
          <Section id="found" title="What was found">
            <Findings findings={findings} />
          </Section>
          <Asked input={input} conditions={conditions} />
          <Results conditions={conditions} comparisons={comparisons.adapters} figures={figures} />
          <Theory
            cells={input.cells}
            conditions={conditions}
            kernels={comparisons.kernels}
            figures={figures}
            undrawn={undrawn}
          />
          <Premise conditions={conditions} />
          <Corrections />
          <Examples conditions={conditions} />
          <Stages input={input} figure={figures.stages} />
          <Provenance input={input} />
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

export const renderPage = (props: PageProps): string =>
  `<!doctype html>\n${renderToString(<Page {...props} />)}\n`;
