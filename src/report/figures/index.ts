/**
 * Every figure of the report. One of the grid is an entry of `defaults.ts`; any other is a function
 * in a file of its own. A record here gives it its section of the page, and SVG and CSV beside it.
 */
import type { Analysis } from '../analysis.ts';
import type { Figure } from '../types.ts';
import { rocFigure, spectrumFigures } from './curves.ts';
import {
  answerEntries,
  chainEntries,
  defenceEntries,
  differenceEntries,
  doseEntries,
  type Entries,
  entropyEntries,
  informationEntries,
  lossEntries,
  MOST_ADAPTERS,
  rankEntries,
  scoreEntries,
  stepEntries,
  varianceEntries,
} from './defaults.ts';
import { drawEntries, type Limits, OF_REPORT } from './entry.ts';
import { kernelFigures } from './kernels.ts';
import { mapFigures } from './map.ts';
import { stageFigure } from './stages.ts';

export type FigureSection =
  | 'answer'
  | 'scores'
  | 'defences'
  | 'axes'
  | 'chain'
  | 'steps'
  | 'losses'
  | 'information'
  | 'spectra'
  | 'kernels'
  | 'map'
  | 'stages';

type Drawn = Figure | null | readonly (Figure | null)[];

interface FigureRecord {
  readonly section: FigureSection;
  /** Draws one figure or several. Null means a figure that has nothing to show. */
  readonly draw: (analysis: Analysis) => Drawn | Promise<Drawn>;
}

/** The names that the spec has taken: its figures and tables are in one folder with these. */
const takenNames = ({ input: { entries } }: Analysis): readonly string[] =>
  [...(entries?.figures ?? []), ...(entries?.tables ?? [])].map(({ name }) => name);

/** Returns a function that draws entries, unless the spec does without or has taken their names. */
const ofGrid =
  (entriesOf: Entries, limits: Partial<Limits> = {}): FigureRecord['draw'] =>
  (analysis) => {
    const isShown = analysis.input.entries?.defaults ?? true,
      taken = takenNames(analysis);
    const entries = entriesOf(analysis.conditions).filter(
      ({ name }) => isShown && !taken.includes(name),
    );
    return drawEntries(entries, analysis, { ...OF_REPORT, ...limits });
  };

const FIGURES: readonly FigureRecord[] = [
  { section: 'answer', draw: ofGrid(answerEntries, { places: 6 }) },
  { section: 'scores', draw: ofGrid(scoreEntries) },
  { section: 'scores', draw: ofGrid(differenceEntries, { most: 18 }) },
  { section: 'defences', draw: ofGrid(defenceEntries) },
  { section: 'defences', draw: ({ conditions }) => rocFigure(conditions) },
  { section: 'axes', draw: ofGrid(doseEntries) },
  { section: 'axes', draw: ofGrid(rankEntries) },
  { section: 'axes', draw: ofGrid(varianceEntries) },
  { section: 'losses', draw: ofGrid(lossEntries, { lines: MOST_ADAPTERS }) },
  { section: 'chain', draw: ofGrid(chainEntries) },
  { section: 'steps', draw: ofGrid(stepEntries, { lines: MOST_ADAPTERS }) },
  { section: 'information', draw: ofGrid(informationEntries, { most: 24 }) },
  { section: 'information', draw: ofGrid(entropyEntries, { lines: 6 }) },
  { section: 'spectra', draw: ({ conditions }) => spectrumFigures(conditions) },
  { section: 'kernels', draw: ({ kernels, input }) => kernelFigures(kernels, input.classes) },
  { section: 'map', draw: ({ conditions }) => mapFigures(conditions) },
  { section: 'stages', draw: ({ input }) => stageFigure(input.stages) },
];

export type DrawnFigures = Readonly<Record<FigureSection, readonly Figure[]>>;

/** Draws all figures by section, except those whose names the spec has taken. */
export async function drawFigures(analysis: Analysis): Promise<DrawnFigures> {
  const drawn: Record<FigureSection, Figure[]> = {
    answer: [],
    scores: [],
    defences: [],
    axes: [],
    chain: [],
    steps: [],
    losses: [],
    information: [],
    spectra: [],
    kernels: [],
    map: [],
    stages: [],
  };
  const taken = takenNames(analysis);
  for (const { section, draw } of FIGURES) {
    const figures = [await draw(analysis)].flat().filter((figure) => figure !== null);
    drawn[section].push(...figures.filter(({ id }) => !taken.includes(id)));
  }
  return drawn;
}
