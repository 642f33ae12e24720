/**
 * Every figure of the report. A figure of the grid is an entry of `defaults.ts`; any other figure
 * is drawn by a function in a file of its own. `FIGURES` assigns each to a section of the page.
 */
import { UserFault } from '../../base/fault.ts';
import type { Analysis } from '../analysis.ts';
import type { EntryContents, Figure } from '../types.ts';
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
import { drawEntry, type Limits, OF_REPORT } from './entry.ts';
import { kernelFigures } from './kernels.ts';
import { mapFigures } from './map.ts';
import { stageFigure } from './stages.ts';

type Drawn = Figure | null | readonly (Figure | EntryContents | null)[];
/**
 * Draws figures. Null stands for a figure with nothing to show, `EntryContents` for a figure that a
 * fault of the grid prevents.
 */
type Draw = (analysis: Analysis) => Drawn | Promise<Drawn>;

/** The names of the spec's own figures and tables, which lie in one folder with these figures. */
const takenNames = ({ input: { entries } }: Analysis): readonly string[] =>
  [...(entries?.figures ?? []), ...(entries?.tables ?? [])].map(({ name }) => name);

/**
 * Returns a function that draws entries, without those whose names the spec has taken. A fault of
 * the grid gives its reason in place of the figure, so that the rest of the page stands.
 */
const ofGrid =
  (entriesOf: Entries, limits: Partial<Limits> = {}): Draw =>
  async (analysis) => {
    const taken = takenNames(analysis);
    const drawn: (Figure | EntryContents)[] = [];
    for (const entry of entriesOf(analysis.conditions).filter(({ name }) => !taken.includes(name)))
      try {
        drawn.push(...(await drawEntry(entry, analysis, { ...OF_REPORT, ...limits })));
      } catch (error) {
        if (!(error instanceof UserFault)) throw error;
        const wayOut = 'an entry of this name under report.figures takes its place';
        drawn.push({ name: entry.name, files: [], lacks: [`${error.message}: ${wayOut}`] });
      }
    return drawn;
  };

const FIGURES = {
  answer: [ofGrid(answerEntries, { places: 6 })],
  scores: [ofGrid(scoreEntries), ofGrid(differenceEntries, { most: 18 })],
  defences: [ofGrid(defenceEntries), ({ conditions }) => rocFigure(conditions)],
  axes: [ofGrid(doseEntries), ofGrid(rankEntries), ofGrid(varianceEntries)],
  chain: [ofGrid(chainEntries)],
  steps: [ofGrid(stepEntries, { lines: MOST_ADAPTERS })],
  losses: [ofGrid(lossEntries, { lines: MOST_ADAPTERS })],
  information: [ofGrid(informationEntries, { most: 24 }), ofGrid(entropyEntries, { lines: 6 })],
  spectra: [({ conditions }) => spectrumFigures(conditions)],
  kernels: [({ kernels, input }) => kernelFigures(kernels, input.classes)],
  map: [({ conditions }) => mapFigures(conditions)],
  stages: [({ input }) => stageFigure(input.stages)],
} satisfies { readonly [section: string]: readonly Draw[] };

export type FigureSection = keyof typeof FIGURES;
export type DrawnFigures = Readonly<Record<FigureSection, readonly Figure[]>>;

/** The sections that stay if a spec does without the report's own figures. */
const OF_RUN: readonly string[] = ['stages'] satisfies readonly FigureSection[];

/**
 * Draws all figures by section, except those that the spec does without or whose names it has
 * taken. `lacking` holds those that cannot be drawn, and why.
 */
export async function drawFigures(
  analysis: Analysis,
): Promise<DrawnFigures & { readonly lacking: readonly EntryContents[] }> {
  const drawn: { [section: string]: readonly Figure[] } = {};
  const lacking: EntryContents[] = [];
  const taken = takenNames(analysis),
    { defaults = true } = analysis.input.entries ?? {};
  for (const [section, draws] of Object.entries<readonly Draw[]>(FIGURES)) {
    const found = [];
    for (const draw of defaults || OF_RUN.includes(section) ? draws : [])
      found.push(...[await draw(analysis)].flat());
    const figures = found.filter((figure) => figure !== null);
    lacking.push(...figures.filter((figure) => 'lacks' in figure));
    drawn[section] = figures
      .filter((figure) => 'id' in figure)
      .filter(({ id }) => !taken.includes(id));
  }
  return { ...(drawn as DrawnFigures), lacking };
}
