/** `dosimeter crosscheck SPEC`: compares every number of some cells between two engines. */
import path from 'node:path';
import { UserFault } from '../api.ts';
import { crosscheckPage, type CrosscheckView, seenText } from '../report/crosscheck.tsx';
import { distinct } from '../report/groups.ts';
import {
  type Difference,
  differences,
  evenlySpacedCells,
  isJudged,
  mostAffected,
  type Mutation,
  MUTATIONS,
  nameOf,
  withMutation,
} from '../run/crosscheck.ts';
import { hasLetGo } from '../run/execute/keep.ts';
import { prepare, type Prepared } from '../run/prepare.ts';
import { publishCrosscheck } from '../run/reports.ts';
import type { SpecOptions } from './options.ts';
import { runInTerminal } from './run.ts';
import {
  columns,
  count,
  DONE,
  FAILED,
  json,
  out,
  paint,
  proseWidth,
  say,
  table,
  wrap,
} from './terminal.ts';

interface CrosscheckOptions extends SpecOptions {
  readonly cells: number;
  readonly tolerance: number;
  readonly mutate?: true;
}

const OTHER_ENGINE = 'torch';

/** Returns DONE if the engines agree and every mutation is seen; else FAILED. */
export async function crosscheckCommand(spec: string, options: CrosscheckOptions): Promise<number> {
  const { tolerance } = options;
  if (options.backend === OTHER_ENGINE)
    throw new UserFault(
      'crosscheck compares another backend with torch, and --backend names torch itself',
      'leave --backend out, or name tensorflow, wasm or cpu',
    );
  const otherEngine = { ...options, backend: OTHER_ENGINE } as const;
  const first = await runCells(spec, options);
  const second = await runCells(spec, otherEngine);
  if (first === null || second === null) return FAILED;
  const gone = [...first.statuses, ...second.statuses].filter(({ entry }) => hasLetGo(entry));
  if (gone.length > 0)
    say(
      `${count(gone.length, 'stage')} lost files as \`keep\` asks, which are not compared: ` +
        'add --set keep.train=all, and other kinds alike, to compute them again',
    );
  const found = await differences(first, second, tolerance);
  const mutations: Shown[] = [];
  for (const mutation of options.mutate === true ? MUTATIONS : []) {
    const changed = await runCells(spec, otherEngine, mutation);
    if (changed === null) return FAILED;
    const shown = mostAffected(found, await differences(first, changed, tolerance), tolerance);
    mutations.push({
      name: mutation.name,
      number: shown === null ? null : nameOf(shown.difference),
      difference: shown?.difference.difference ?? 0,
      seen: shown?.seen ?? false,
    });
  }
  const view = createView(first, second, found, mutations, tolerance),
    { agree } = view.verdict;
  const page = publishCrosscheck(first, crosscheckPage(view), say);
  if (options.json)
    json({ engines: view.engines, tolerance, agree, differences: found, mutations, page });
  else {
    show(view);
    if (page !== null) out(path.relative('', page));
  }
  return agree && mutations.every(({ seen }) => seen) ? DONE : FAILED;
}

interface Shown {
  /** The name of the mutation. */
  readonly name: string;
  /** The number that the mutation changes most; null if no number was compared. */
  readonly number: string | null;
  readonly difference: number;
  /** Whether the comparison sees the mutation. */
  readonly seen: boolean;
}

/** Runs the compared cells on the options' backend. Returns null if a stage failed. */
async function runCells(
  spec: string,
  options: CrosscheckOptions,
  mutation?: Mutation,
): Promise<Prepared | null> {
  const notCompared = new Set<string>();
  /**
   * Prepares the compared cells, with those goals of cells alone that both engines compute. Adds to
   * `notCompared` the kinds of goals that it leaves out because PyTorch does not compute them.
   */
  const prepareCells = (fetch: boolean): Promise<Prepared> =>
    prepare(spec, options, {
      fetch,
      note: fetch ? say : () => undefined,
      goals: (goals, registry) =>
        goals.filter((kind) => {
          const stage = registry.get('stage', kind)?.descriptor;
          const isOfCells = stage?.scope === 'cell';
          const isCompared = isOfCells && (!stage.compute || stage.torch === true);
          if (isOfCells && !isCompared) notCompared.add(kind);
          return isCompared;
        }),
      cells: (cells) =>
        evenlySpacedCells(cells, options.cells).map((cell) =>
          mutation === undefined ? cell : withMutation(cell, mutation),
        ),
    });
  const before = await prepareCells(true);
  refuseOneEngine(before);
  if (notCompared.size > 0 && mutation === undefined && options.backend === OTHER_ENGINE)
    say(`not compared, since PyTorch does not compute them: ${[...notCompared].join(', ')}`);
  const name = mutation === undefined ? '' : `, ${mutation.name}`;
  say(paint.bold(`${before.backend}${name}: ${count(before.experiment.cells.length, 'cell')}`));
  const { plan } = before;
  // Files stay until they have been compared, whatever the spec's `keep` says.
  const whole = { ...before, plan: { ...plan, experiment: { ...plan.experiment, keep: {} } } };
  const code = await runInTerminal(whole, { jobs: options.jobs });
  return code === DONE ? prepareCells(false) : null;
}

/** Throws UserFault if a cell's model or adapter computes under one backend alone. */
function refuseOneEngine({ experiment, registry }: Prepared): void {
  for (const { config } of experiment.cells)
    for (const [kind, name] of [
      ['model', config.model.architecture],
      ['adapter', config.adapter.type],
    ] as const) {
      const only = registry.get(kind, name)?.descriptor.backend;
      if (only !== undefined)
        throw new UserFault(
          `crosscheck compares two engines, and "${name}" computes under the backend ${only} alone`,
          kind === 'model'
            ? 'name a model of the families that `dosimeter plugins` lists'
            : 'choose another adapter, or leave its cells out with --only',
        );
    }
}

/** Returns a number with at most seven significant digits. */
const numberText = (value: number): string => String(Number(value.toPrecision(7)));

/**
 * Returns what the terminal and the page show. `growth` is null if the engines agree, or if no
 * losses were compared.
 */
function createView(
  first: Prepared,
  second: Prepared,
  found: readonly Difference[],
  mutations: readonly Shown[],
  tolerance: number,
): CrosscheckView {
  const apart = found.filter(({ difference }) => difference > 0);
  const tableOf = (title: string | null, what: 'number' | 'tensor') => ({
    title,
    columns: ['stage', what, 'pairs', 'largest difference', 'a', 'b', 'where'],
    rows: apart
      .filter(({ tensor }) => (tensor === undefined) === (what === 'number'))
      .map(({ stage, number, pairs, difference, values, cell }) => [
        stage,
        number,
        String(pairs),
        difference.toExponential(1),
        ...values.map(numberText),
        cell,
      ]),
  });
  const equal = found.length - apart.length,
    worst = found.find(isJudged),
    agree = worst !== undefined && worst.difference <= tolerance,
    loss = found.find(({ number }) => number === 'history.jsonl loss');
  const { experiment } = first;
  return {
    name: experiment.name,
    specFile: path.relative('', experiment.file),
    cells: experiment.cells.length,
    engines: [first.plan.computedBy, second.plan.computedBy],
    verdict: {
      agree,
      text: `the engines ${agree ? 'agree within' : 'differ by more than'} ${tolerance}`,
    },
    growth: agree || loss === undefined ? null : growthText(loss, tolerance),
    tables: [
      tableOf(null, 'number'),
      tableOf('of weights and kernels by kind, a kernel relative to its largest entry', 'tensor'),
    ].filter(({ rows }) => rows.length > 0),
    notes: [
      apart.every(isJudged)
        ? ''
        : "The biases of attention's keys differ, and are not judged: their gradients are zero " +
          'but for rounding, which Adam scales to whole steps, and no output depends on them.',
      equal === 0
        ? ''
        : `${equal} other numbers are equal, such as ${found.slice(-3).map(nameOf).join(', ')}`,
    ].filter((note) => note !== ''),
    mutations: mutations.map(({ name, number, difference, seen }) => ({
      text: `with ${name}: ${number ?? 'nothing'} differs by ${difference.toExponential(1)},`,
      seen,
    })),
  };
}

function show({ engines, tables, notes, mutations, verdict, growth: cause }: CrosscheckView): void {
  const [a, b] = engines;
  const prose = (text: string): void => out(wrap(text, proseWidth(), '  '));
  out(`a: ${a}\nb: ${b}`);
  // The last column has the cells' labels, which are long: rows show numbers instead, and the
  // labels are listed below by number.
  const cells = distinct(tables.flatMap(({ rows }) => rows.map((row) => row.at(-1) ?? '')));
  const numbered = (row: readonly string[]): readonly string[] => [
    ...row.slice(0, -1),
    String(cells.indexOf(row.at(-1) ?? '') + 1),
  ];
  for (const { title, columns: head, rows } of tables) {
    if (title !== null) out(`${title}:`);
    out(table([head, ...rows.map(numbered)], { width: columns(), names: 2 }));
  }
  cells.forEach((cell, i) => prose(`where ${i + 1}: ${cell}`));
  notes.forEach(prose);
  for (const { text, seen } of mutations)
    out(`${text} ${seen ? seenText(seen) : paint.red(seenText(seen))}`);
  out((verdict.agree ? paint.green : paint.red)(verdict.text));
  if (cause !== null) prose(cause);
}

/** Says whether the losses show rounding that grew, or an error. */
function growthText({ atFirst, beyondFrom }: Difference, tolerance: number): string {
  if (atFirst > tolerance)
    return 'The losses of step 1 differ already, which rounding does not explain.';
  const first = `The losses of step 1 agree within ${atFirst.toExponential(1)}`;
  const later =
    beyondFrom === null
      ? ', and those of all later steps within the tolerance'
      : `, and from step ${beyondFrom} on some are beyond the tolerance`;
  return (
    `${first}${later}. A training amplifies rounding, the more the higher its learning rate; an ` +
    'error shows in the first steps. Compare fewer of them: --set train.steps=20.'
  );
}
