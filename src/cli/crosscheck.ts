/**
 * `dosimeter crosscheck SPEC`: cells on two engines, this program's own and PyTorch, and the largest
 * difference of each number that they wrote.
 */
import { type BackendName, UserFault } from '../api.ts';
import {
  type Difference,
  differences,
  mutated,
  type Mutation,
  MUTATIONS,
  someCells,
} from '../run/crosscheck.ts';
import { prepare, type Prepared } from '../run/prepare.ts';
import type { SpecOptions } from './options.ts';
import { runInTerminal } from './run.ts';
import { count, DONE, FAILED, json, out, paint, say, table } from './terminal.ts';

export interface CrosscheckOptions extends SpecOptions {
  readonly cells: number;
  readonly tolerance: number;
  readonly mutate?: true;
}

const OTHER = 'torch';

export async function crosscheckCommand(spec: string, options: CrosscheckOptions): Promise<number> {
  const { tolerance } = options;
  if (options.backend === OTHER)
    throw new UserFault(
      'crosscheck compares another backend with torch, and --backend names torch itself',
      'leave --backend out, or name tensorflow, wasm or cpu',
    );
  if (!(tolerance > 0))
    throw new UserFault(`--tolerance takes a number above 0, got "${String(tolerance)}"`);
  const first = await ran(spec, options, options.backend);
  const second = await ran(spec, options, OTHER);
  if (first === null || second === null) return FAILED;
  const found = await differences(first, second);
  const largest = found[0]?.difference ?? 0;
  const mutations: { readonly name: string; readonly difference: number }[] = [];
  for (const mutation of options.mutate === true ? MUTATIONS : []) {
    const changed = await ran(spec, options, OTHER, mutation);
    if (changed === null) return FAILED;
    const [worst] = await differences(first, changed);
    mutations.push({ name: mutation.name, difference: worst?.difference ?? 0 });
  }
  const agree = found.length > 0 && largest <= tolerance,
    sees = mutations.every(({ difference }) => difference > tolerance);
  const engines = [first, second].map(({ plan }) => plan.computedBy);
  if (options.json) json({ engines, tolerance, agree, differences: found, mutations });
  else show(engines, found, mutations, tolerance);
  return agree && sees ? DONE : FAILED;
}

/** Runs the cells on a backend. Returns null if a stage failed. */
async function ran(
  spec: string,
  options: CrosscheckOptions,
  backend: BackendName | undefined,
  mutation?: Mutation,
): Promise<Prepared | null> {
  const left = new Set<string>();
  const prepared = (fetch: boolean): Promise<Prepared> =>
    prepare(
      spec,
      { ...options, ...(backend === undefined ? {} : { backend }) },
      {
        fetch,
        note: fetch ? say : () => undefined,
        goals: (goals, registry) =>
          goals.filter((kind) => {
            const stage = registry.get('stage', kind)?.descriptor;
            const isOfCells = stage?.scope === 'cell';
            const isCompared = isOfCells && (!stage.compute || stage.torch === true);
            if (isOfCells && !isCompared) left.add(kind);
            return isCompared;
          }),
        cells: (cells) =>
          someCells(cells, options.cells).map((cell) =>
            mutation === undefined ? cell : mutated(cell, mutation),
          ),
      },
    );
  const before = await prepared(true);
  if (left.size > 0 && mutation === undefined && backend === OTHER)
    say(`not compared, since PyTorch does not compute them: ${[...left].join(', ')}`);
  const name = mutation === undefined ? '' : `, ${mutation.name}`;
  say(paint.bold(`${before.backend}${name}: ${count(before.experiment.cells.length, 'cell')}`));
  const code = await runInTerminal(before, { jobs: options.jobs });
  return code === DONE ? prepared(false) : null;
}

const nameOf = ({ stage, number }: Difference): string => `${stage} ${number}`;
const short = (value: number): string => String(Number(value.toPrecision(7)));

function show(
  engines: readonly string[],
  found: readonly Difference[],
  mutations: readonly { readonly name: string; readonly difference: number }[],
  tolerance: number,
): void {
  const [a = '', b = ''] = engines;
  out(`a: ${a}\nb: ${b}`);
  const apart = found.filter(({ difference }) => difference > 0);
  if (apart.length > 0)
    out(
      table([
        ['stage', 'number', 'pairs', 'largest difference', 'a', 'b', 'where'],
        ...apart.map(({ stage, number, pairs, difference, values, cell }) => [
          stage,
          number,
          String(pairs),
          difference.toExponential(1),
          ...values.map(short),
          cell,
        ]),
      ]),
    );
  const equal = found.length - apart.length;
  if (equal > 0)
    out(`${equal} other numbers are equal, such as ${found.slice(-3).map(nameOf).join(', ')}`);
  for (const { name, difference } of mutations)
    out(
      `with ${name}: ${difference.toExponential(1)}, ` +
        (difference > tolerance ? 'seen' : paint.red('not seen')),
    );
  const [worst] = found;
  out(
    worst !== undefined && worst.difference <= tolerance
      ? paint.green(`the engines agree within ${tolerance}`)
      : paint.red(`the engines differ by more than ${tolerance}`),
  );
}
