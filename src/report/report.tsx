/** The report: plain data in, one HTML file out, with each figure as SVG and CSV beside it. */
import type { JSX } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { allMetricsCsv, analyse } from './analysis.ts';
import { claims } from './claims.tsx';
import { drawSpecEntries } from './entries.ts';
import { drawFigures } from './figures/index.ts';
import { asked } from './html/asked.tsx';
import { examples } from './html/examples.tsx';
import { found, Header } from './html/first-screen.tsx';
import { corrections, premise } from './html/paper.tsx';
import { type Chapter, Head, type PageProps } from './html/parts.tsx';
import { ownEntries, results } from './html/results.tsx';
import { provenance, stages } from './html/run.tsx';
import { theory } from './html/theory.tsx';
import { latexFigure } from './latex.ts';
import { ENTRIES, type EntryContents, type RenderedReport, type ReportInput } from './types.ts';

/** Downloads an inline figure as a file. Without JavaScript, its button stays hidden. */
const script = `
for (const button of document.querySelectorAll('button[data-figure]')) {
  button.hidden = false;
  button.addEventListener('click', () => {
    const svg = document.querySelector('[data-drawing="' + button.dataset.figure + '"] svg');
    const text = new XMLSerializer().serializeToString(svg);
    const url = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }));
    const link = document.createElement('a');
    link.href = url;
    link.download = button.dataset.figure + '.svg';
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
}
`.trim();

function Page(props: PageProps): JSX.Element {
  const chapters = CHAPTERS.filter(({ concerns }) => concerns?.(props) ?? true);
  return (
    <html lang="en">
      <Head name={props.input.name} script={script} />
      <body>
        <Header {...props} />
        <nav aria-label="Chapters">
          <div class="wrap">
            {chapters.map(({ id, nav }) => (
              <a href={`#${id}`}>{nav}</a>
            ))}
          </div>
        </nav>
        <main class="wrap">
          {chapters.map(({ id, title, parts }) => (
            <section id={id}>
              <h2>{title}</h2>
              {parts.map((Part) => (
                <Part {...props} />
              ))}
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

const CHAPTERS: readonly Chapter[] = [
  found,
  claims,
  asked,
  ownEntries,
  results,
  theory,
  premise,
  corrections,
  examples,
  stages,
  provenance,
];

export async function renderReport(input: ReportInput): Promise<RenderedReport> {
  const analysis = analyse(input);
  const { lacking, ...figures } = await drawFigures(analysis),
    entries = await drawSpecEntries(analysis);
  const files: { [path: string]: string } = {};
  const drawn = [...Object.values(figures).flat(), ...entries.flatMap((own) => own.figures)];
  for (const figure of drawn) {
    const { id, svg, csv, spec } = figure;
    files[`figures/${id}.svg`] = svg;
    files[`figures/${id}.tex`] = `${latexFigure(figure)}\n`;
    if (csv !== null) files[`figures/${id}.csv`] = csv;
    if (spec !== undefined) files[`figures/${id}.vl.json`] = `${JSON.stringify(spec)}\n`;
  }
  for (const { name, latex, markdown, csv } of entries.flatMap(({ table }) => table ?? [])) {
    files[`tables/${name}.tex`] = latex;
    files[`tables/${name}.md`] = markdown;
    files[`tables/${name}.csv`] = csv;
  }
  const contents: EntryContents[] = [
    ...entries.map(({ name, figures: own, table, lacks }) => ({
      name,
      files: [
        ...own.map(({ id }) => `figures/${id}`),
        ...(table === null ? [] : [`tables/${name}`]),
      ],
      lacks,
    })),
    ...lacking,
  ];
  if (contents.length > 0) files[ENTRIES] = `${JSON.stringify(contents)}\n`;
  const { csv } = allMetricsCsv(analysis.conditions);
  if (csv !== null) files['figures/all-metrics.csv'] = csv;
  const page = <Page {...analysis} figures={figures} entries={entries} lacking={lacking} />;
  return { html: `<!doctype html>\n${renderToString(page)}\n`, files };
}
