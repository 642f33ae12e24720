import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type AttackDescriptor,
  type ExperimentFacts,
  type Poisoning,
  type RunContext,
  stepsOf,
} from '../../../src/api.ts';
import type { ReportEntries } from '../../../src/api/report.ts';
import { defined } from '../../../src/base/defined.ts';
import { familyOfSteps, openSteps } from '../../../src/poisoning/steps.ts';
import { repeatedTrainings } from '../../../src/report/defences.ts';
import { chooseKernels } from '../../../src/report/figures/kernels.ts';
import { OUTPUTS } from '../../../src/report/outputs.ts';
import { renderReport } from '../../../src/report/report.tsx';
import { withShownSources } from '../../../src/report/sources.ts';
import type {
  AttackFamily,
  EarlierTraining,
  RenderedReport,
  ReportCell,
} from '../../../src/report/types.ts';
import {
  attacksIn,
  goalsToRead,
  isTrainedGoal,
  type Params,
  type PlannedCell,
  receiptInput,
} from './index.ts';
import { gatherOutputs, packOutputs } from './outputs.ts';
import { readCell, readCellKernels, readReceipt, readSources } from './reader.ts';

/** Opens the attack of a name. Null if no goal trains a model: attacks are then not opened. */
type OpenAttack = ((name: string) => AttackDescriptor) | null;

/** Returns an attack's family. An attack that is not opened counts as untargeted. */
function familyOf(poisoning: Poisoning, open: OpenAttack): AttackFamily {
  if (open !== null) return familyOfSteps(openSteps(poisoning, open));
  return poisoning.attack === 'none' ? 'none' : 'untargeted';
}

/**
 * Returns the goals whose metrics are read for each cell. A stage that serves the whole grid is
 * left out, because its repeated metrics would make the cells seem to agree.
 */
function goalsOfCells(goals: readonly string[], { cells }: ExperimentFacts): readonly string[] {
  const isShared = (kind: string): boolean =>
    cells.length > 1 && new Set(cells.map(({ stages }) => stages[kind])).size === 1;
  return goalsToRead(goals).filter((kind) => isTrainedGoal(kind) || !isShared(kind));
}

/** Returns what plan and experiment say about a cell; its files are read later. */
function plannedCell(
  planned: PlannedCell,
  facts: ExperimentFacts['cells'][number],
  train: Params['train'],
  open: OpenAttack,
) {
  const { seed, poisoning, of_base: place, chain, adapter, bf16, weights } = planned;
  const attacksLoss =
    place === undefined &&
    stepsOf(poisoning).some(({ attack }) => open?.(attack).training?.changes === 'loss');
  return {
    axes: facts.cell,
    also: facts.also,
    seed,
    stages: facts.stages,
    attack: poisoning.attack,
    adapter: adapter.type,
    train: train[planned.train] ?? {},
    bases: planned.bases?.map((base) => ({ ...base, train: train[base.train] ?? {} })),
    family: familyOf(poisoning, open),
    ofBase: place === true ? 'base' : place,
    chain,
    bf16,
    weights,
    attacksLoss: attacksLoss ? (true as const) : undefined,
    kernels: {},
    receipt: null,
  };
}

/**
 * Reads the cells, without kernels and receipts. Throws if plan and experiment differ in a seed.
 */
async function readCells(
  context: RunContext,
  experiment: ExperimentFacts,
  { goals, cells: planned, train }: Params,
  open: OpenAttack,
): Promise<ReportCell[]> {
  const kinds = goalsOfCells(goals, experiment);
  const cells: ReportCell[] = [];
  for (const [index, cell] of planned.entries()) {
    const facts = experiment.cells[index];
    if (facts?.seed !== cell.seed)
      throw new Error(
        `cell ${index} has seed ${facts?.seed ?? 'none'}, ` +
          `but the report was planned for ${cell.seed}`,
      );
    cells.push({
      ...plannedCell(cell, facts, train, open),
      ...(await readCell(context.inputs, index, kinds, cell)),
    });
    context.progress(index + 1, planned.length, 'cells');
    context.signal.throwIfAborted();
  }
  return withoutRepeatedCurves(cells);
}

/** Returns the cells, without curves and history where they repeat another cell's training. */
function withoutRepeatedCurves(cells: readonly ReportCell[]): ReportCell[] {
  const isRepeated = repeatedTrainings(cells);
  return cells.map((cell) =>
    isRepeated(cell) ? { ...cell, curves: undefined, history: null } : cell,
  );
}

/**
 * Returns the cells with the kernels that are drawn, and with one receipt for each attack of each
 * training.
 */
async function withKernelsAndReceipts(
  cells: readonly ReportCell[],
  planned: readonly PlannedCell[],
  inputs: RunContext['inputs'],
): Promise<ReportCell[]> {
  const indexes = new Map(cells.map((cell, index) => [cell, index]));
  const hasKernel = (cell: ReportCell): boolean =>
    inputs[`ntk:${indexes.get(cell) ?? ''}`] !== undefined;
  const drawn = new Set(chooseKernels(cells, hasKernel).map(({ cell }) => cell));
  const attacksShown = new Set<string>();
  /** Returns an input's receipt; undefined if there is none, or the attack was shown before. */
  const firstReceipt = async (input: string, ...attack: readonly unknown[]) => {
    const key = JSON.stringify(attack),
      receipt = attacksShown.has(key) ? undefined : await readReceipt(inputs, input);
    if (receipt !== undefined) attacksShown.add(key);
    return receipt;
  };
  const complete: ReportCell[] = [];
  for (const [index, cell] of cells.entries()) {
    const { of_base: place, poisoning } = planned[index] ?? {};
    const receipt = (await firstReceipt(`poison:${index}`, place, poisoning)) ?? null;
    const bases: EarlierTraining[] = [];
    for (const base of cell.bases ?? []) {
      const { section } = base;
      const input = receiptInput(index, section);
      bases.push({ ...base, receipt: await firstReceipt(input, section, base.poisoning) });
    }
    const kernels = drawn.has(cell) ? await readCellKernels(inputs, index) : {};
    complete.push({ ...cell, bases: cell.bases && bases, kernels, receipt });
  }
  return complete;
}

/** Returns the experiment with the sources in its axes as the report shows them (sources.ts). */
function withShownAxes(experiment: ExperimentFacts): ExperimentFacts {
  const { cells, stages, sources } = experiment;
  const axes = withShownSources({
    sources: sources.map(({ uri }) => uri),
    cells: cells.map(({ cell, also }) => ({ cell, ...defined({ also }) })),
    stages: stages.map(({ cell }) => ({ cell })),
  });
  return {
    ...experiment,
    cells: cells.map((cell, i) => ({ ...cell, ...axes.cells[i] })),
    stages: stages.map((stage, i) => ({ ...stage, ...axes.stages[i] })),
    sources: sources.map((source, i) => ({ ...source, uri: axes.sources[i] ?? source.uri })),
  };
}

async function writeReport(outDir: string, { html, files }: RenderedReport): Promise<void> {
  await writeFile(join(outDir, 'report.html'), html);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(outDir, path)), { recursive: true });
    await writeFile(join(outDir, path), content);
  }
}

/** Writes the report, its figures, and the outputs of the models that it lets readers browse. */
export async function run(context: RunContext<Params>): Promise<void> {
  const { inputs, outDir } = context;
  if (context.experiment === undefined)
    throw new Error('a report needs the whole experiment, which it was not given');
  const experiment = withShownAxes(context.experiment);
  const { params } = context;
  const { goals, cells: planned, sources, triggers, entries } = params;
  if (experiment.cells.length !== planned.length)
    throw new Error(
      `the experiment has ${experiment.cells.length} cells, ` +
        `but the report was planned for ${planned.length}`,
    );
  const open = goals.some(isTrainedGoal)
    ? (name: string) => context.plugin<AttackDescriptor>('attack', name)
    : null;
  const cells = await readCells(context, experiment, params, open);
  const backends = experiment.stages.map(({ backend }) => backend);

  const outputs = await gatherOutputs(context, cells, planned);
  const data = outputs === null ? null : packOutputs(outputs);
  if (data !== null) await writeFile(join(outDir, OUTPUTS), data);

  const report = await renderReport({
    name: experiment.name,
    specFile: experiment.specFile,
    specText: experiment.specText,
    goals,
    cells: await withKernelsAndReceipts(cells, planned, inputs),
    stages: experiment.stages,
    read: experiment.sources,
    backends: [...new Set(backends.filter((backend) => backend !== null))],
    ...(await readSources(inputs, sources, cells.length)),
    attacks: [...attacksIn(planned)].flatMap(([attack, values]) => {
      if (open === null) return [];
      const { name, summary, citation } = open(attack);
      return [{ name, summary, citation, params: values }];
    }),
    environment: experiment.environment,
    outputs: data === null ? undefined : true,
    triggers,
    entries: entries as unknown as ReportEntries | undefined,
  });
  await writeReport(outDir, report);
  const kilobytes = (length: number): string => (length / 1024).toFixed(0);
  context.log(
    `${cells.length} cells; report.html has ${kilobytes(report.html.length)} kB, ` +
      (data === null ? '' : `${OUTPUTS} ${kilobytes(data.length)} kB, `) +
      `figures/ ${Object.keys(report.files).length} files`,
  );
}
