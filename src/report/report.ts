/** The report: plain data in, one HTML file out, with each figure as SVG and CSV beside it. */
import { allMetricsCsv, analyse } from './analysis.ts';
import { drawFigures } from './figures/index.ts';
import { renderPage } from './html/page.tsx';
import type { RenderedReport, ReportInput } from './types.ts';

export async function renderReport(input: ReportInput): Promise<RenderedReport> {
  const analysis = analyse(input);
  const figures = await drawFigures(analysis);
  const files: { [path: string]: string } = {};
  for (const { id, svg, csv } of Object.values(figures).flat()) {
    files[`figures/${id}.svg`] = svg;
    if (csv !== null) files[`figures/${id}.csv`] = csv;
  }
  const { csv } = allMetricsCsv(analysis.conditions);
  if (csv !== null) files['figures/all-metrics.csv'] = csv;
  return { html: renderPage(analysis, figures), files };
}
