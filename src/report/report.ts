/** The report: plain data in, one HTML file out, and each figure as SVG and CSV beside it. Pure but for drawing time. */
import { caveatsOf } from './caveats.ts';
import { blockLabel, conditionsOf, metricOf, seriesOf } from './conditions.ts';
import { answerFigures } from './figures/answer.ts';
import { doseFigures, rankFigures, varianceFigures } from './figures/axes.ts';
import { forestFigure } from './figures/forest.ts';
import { informationFigures } from './figures/information.ts';
import { chooseKernels, kernelFigures } from './figures/kernels.ts';
import { lossFigures } from './figures/losses.ts';
import { mapFigures } from './figures/map.ts';
import { scoreFigure } from './figures/scores.ts';
import { spectrumFigures } from './figures/spectra.ts';
import { stageFigure } from './figures/stages.ts';
import { stepFigures } from './figures/steps.ts';
import { adapterPalette } from './figures/theme.ts';
import { compareAll, findingsOf, standing } from './findings.ts';
import { type PageProps, renderPage } from './html/page.tsx';
import { allMetricsCsv } from './html/results.tsx';
import { ACCURACY, ASR } from './metrics.ts';
import type { Figure, RenderedReport, ReportInput } from './types.ts';

const present = (figures: readonly (Figure | null)[]): Figure[] =>
  figures.filter((figure) => figure !== null);

export async function renderReport(input: ReportInput): Promise<RenderedReport> {
  const conditions = conditionsOf(input.cells, input.stages);
  const comparisons = compareAll(conditions);
  const palette = adapterPalette(conditions);
  const hasKernel = (cell: ReportInput['cells'][number]): boolean =>
    Object.keys(cell.kernels).length > 0;
  const chosen = chooseKernels(input.cells, hasKernel);
  // A cell whose ntk stage has finished has a kernel, whether it was read or not.
  const kernelCells = input.cells.filter(
    (cell) => hasKernel(cell) || cell.metrics['ntk'] !== undefined,
  ).length;
  const figures: PageProps['figures'] = {
    answer: answerFigures(conditions, palette),
    scores: present([
      await scoreFigure(ACCURACY, conditions, palette),
      conditions.some((condition) => seriesOf(condition, metricOf(ASR.stage, ASR.metric)).summary)
        ? await scoreFigure(ASR, conditions, palette)
        : null,
      await forestFigure(comparisons.adapters, conditions),
    ]),
    axes: [
      ...(await doseFigures(conditions)),
      ...(await rankFigures(conditions)),
      ...(await varianceFigures(conditions)),
    ],
    losses: await lossFigures(conditions),
    steps: await stepFigures(conditions),
    information: await informationFigures(conditions),
    spectra: await spectrumFigures(conditions),
    maps: kernelFigures(chosen, input.classes),
    ranks: await mapFigures(input.cells),
    stages: stageFigure(input.stages),
  };
  const html = renderPage({
    input,
    conditions,
    comparisons,
    findings: findingsOf(conditions, comparisons),
    standing: standing(conditions, comparisons),
    caveats: caveatsOf(
      conditions.map((condition) => ({
        label: `${condition.adapterLabel} ${condition.family === 'none' ? 'without attack' : `under ${blockLabel(condition)}`}`,
        cells: condition.cells,
      })),
    ),
    figures,
    undrawn: kernelCells - new Set(chosen.map(({ cell }) => cell)).size,
  });
  const files: { [path: string]: string } = {};
  for (const figure of Object.values(figures).flat()) {
    if (figure === null) continue;
    files[`figures/${figure.id}.svg`] = figure.svg;
    if (figure.csv !== null) files[`figures/${figure.id}.csv`] = figure.csv;
  }
  const { csv } = allMetricsCsv(conditions);
  if (csv !== null) files['figures/all-metrics.csv'] = csv;
  return { html, files };
}
