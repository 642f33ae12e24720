/**
 * Every figure of the report. To add one, write a function in a new file and add a record here. Its
 * figures then appear in their section of the page, and as SVG and CSV beside it.
 */
import type { Analysis } from '../analysis.ts';
import { scoreOf, seriesOf } from '../conditions.ts';
import { ACCURACY, ASR } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { answerFigures } from './answer.ts';
import { doseFigures, rankFigures, varianceFigures } from './axes.ts';
import { defenceFigures } from './defences.ts';
import { informationFigures } from './information.ts';
import { kernelFigures } from './kernels.ts';
import { mapFigures } from './map.ts';
import { forestFigure, scoreFigure } from './scores.ts';
import { spectrumFigures } from './spectra.ts';
import { stageFigure } from './stages.ts';
import { lossFigures, stepFigures } from './training.ts';

/** The places of the page that have figures. */
export type FigureSection =
  | 'answer'
  | 'scores'
  | 'defences'
  | 'axes'
  | 'steps'
  | 'losses'
  | 'information'
  | 'spectra'
  | 'kernels'
  | 'map'
  | 'stages';

type Drawn = Figure | null | readonly (Figure | null)[];

export interface FigureRecord {
  readonly id: string;
  readonly section: FigureSection;
  /** Draws one figure or several. Null means a figure that has nothing to show. */
  readonly draw: (analysis: Analysis) => Drawn | Promise<Drawn>;
}

/** The figures, within each section in the order of the page. */
export const FIGURES: readonly FigureRecord[] = [
  { id: 'answer', section: 'answer', draw: ({ conditions }) => answerFigures(conditions) },
  {
    id: 'accuracy',
    section: 'scores',
    draw: ({ conditions }) => scoreFigure(ACCURACY, conditions),
  },
  {
    id: 'asr',
    section: 'scores',
    draw: ({ conditions }) =>
      conditions.some((condition) => seriesOf(condition, scoreOf(ASR)).summary)
        ? scoreFigure(ASR, conditions)
        : null,
  },
  {
    id: 'differences',
    section: 'scores',
    draw: ({ conditions, comparisons }) => forestFigure(comparisons.adapters, conditions),
  },
  { id: 'defences', section: 'defences', draw: ({ conditions }) => defenceFigures(conditions) },
  { id: 'dose', section: 'axes', draw: ({ conditions }) => doseFigures(conditions) },
  { id: 'rank', section: 'axes', draw: ({ conditions }) => rankFigures(conditions) },
  { id: 'variance', section: 'axes', draw: ({ conditions }) => varianceFigures(conditions) },
  { id: 'losses', section: 'losses', draw: ({ conditions }) => lossFigures(conditions) },
  { id: 'steps', section: 'steps', draw: ({ conditions }) => stepFigures(conditions) },
  {
    id: 'information',
    section: 'information',
    draw: ({ conditions }) => informationFigures(conditions),
  },
  { id: 'spectra', section: 'spectra', draw: ({ conditions }) => spectrumFigures(conditions) },
  {
    id: 'kernels',
    section: 'kernels',
    draw: ({ kernels, input }) => kernelFigures(kernels, input.classes),
  },
  { id: 'map', section: 'map', draw: ({ input }) => mapFigures(input.cells) },
  { id: 'stages', section: 'stages', draw: ({ input }) => stageFigure(input.stages) },
];

/** The drawn figures by their section of the page. */
export type DrawnFigures = Readonly<Record<FigureSection, readonly Figure[]>>;

/** Draws every figure, one after the other. */
export async function drawFigures(analysis: Analysis): Promise<DrawnFigures> {
  const drawn: Record<FigureSection, Figure[]> = {
    answer: [],
    scores: [],
    defences: [],
    axes: [],
    steps: [],
    losses: [],
    information: [],
    spectra: [],
    kernels: [],
    map: [],
    stages: [],
  };
  for (const { section, draw } of FIGURES) {
    const figures = [await draw(analysis)].flat();
    drawn[section].push(...figures.filter((figure) => figure !== null));
  }
  return drawn;
}
