/**
 * The engine against other engines: a grid of N cells, three trivial stages each (poison → train →
 * evaluate), and one joining report, two stages at a time; 601 stages at N = 200, 3,001 at N =
 * 1,000. Each tool makes real files in a separate folder of the same file system, and its report is
 * read before anything is claimed.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { type Claim, makeClaim, type Measurement } from './claims.ts';
import { output, peakMemory, time } from './engine/clock.ts';
import { dosimeter, own } from './engine/own.ts';
import { doit, dvc, make, ninja, snakemake, turbo, wireit } from './engine/peers.ts';
import { commitAll } from './engine/repository.ts';
import type { Tool } from './engine/tool.ts';
import { benchDir, installOnce, venvOf } from './processes.ts';

export interface EngineOptions {
  readonly rounds?: number;
  /** Runs 61 stages and one round, to see that the bench works. */
  readonly quick?: boolean;
  /** Includes the peers whose first run takes minutes: turbo at 3,001 stages, dvc at 601. */
  readonly slow?: boolean;
  /** The one peer to compare with. */
  readonly only?: string;
}

/** How long a tool takes, in seconds. */
interface Times {
  readonly cold: number;
  readonly nothing: number;
  readonly changed: number;
}

/** Goals by number of stages: how many times faster than each peer we are. */
interface Goals {
  readonly nothing?: number;
  readonly cold?: number;
}

/**
 * A tool whose first run takes longer than this (seconds) has one cold run, and three runs after a
 * change.
 */
const LONG = 3;

// eslint-disable-next-line @typescript-eslint/require-await -- every bench is an async generator
export async function* bench({
  rounds = 5,
  quick = false,
  slow = false,
  only,
}: EngineOptions = {}): AsyncGenerator<Claim> {
  const peers = installed().filter(({ name }) => only === undefined || name.startsWith(only));
  if (peers.length === 0) throw new Error(`no peer here is named "${only ?? ''}"`);
  const place = mkdtempSync(join(os.tmpdir(), 'dosimeter-bench-'));
  const often = quick ? 1 : rounds;
  tell(
    [
      `${os.cpus()[0]?.model.trim() ?? 'unknown processor'} × ${os.cpus().length}, Node ` +
        `${process.version}, ${os.type()} ${os.release()}`,
      ...[own, ...peers].map((tool) => `${tool.name} ${tool.version()}`),
    ].join('; '),
  );
  try {
    output(process.execPath, [join(benchDir, '..', 'src', 'setup', 'build.mjs')]);
    yield* start(quick ? 5 : 20);
    for (const cells of quick ? [20] : [200, 1000]) {
      const chosen = peers.filter(
        ({ name }) =>
          (name !== 'dvc' || (slow && cells <= 200)) && (name !== 'turbo' || cells <= 200 || slow),
      );
      yield* compare(cells, [own, ...chosen], often, place);
    }
    yield* linear(quick ? [20, 200, 2000] : [100, 1000, 10_000], often, place);
    yield* planning(quick ? 1000 : 100_000, place);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const tell = (line: string): void => {
  process.stderr.write(`${line}\n`);
};
const stagesOf = (cells: number): string => (3 * cells + 1).toLocaleString('en');

function installed(): Tool[] {
  const bin = join(
    installOnce('bench-engine-venv', (venv) => venvOf(venv, 'requirements-engine.txt')),
    'bin',
  );
  const modules = join(
    installOnce('bench-engine-npm', (dir) => [
      ['cp', [join(benchDir, 'engine', 'peers', 'package.json'), dir]],
      ['npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent']],
    ]),
    'node_modules',
  );
  return [
    ninja,
    make,
    doit(bin, 'functions'),
    doit(bin, 'commands'),
    turbo(modules),
    snakemake(bin),
    wireit(modules),
    dvc(bin),
  ].filter((tool) => {
    const there = tool.version() !== null;
    if (!there)
      tell(`${tool.name} is not here and is left out (Debian: apt-get install ninja-build make)`);
    return there;
  });
}

/** Compares the launcher with a Node process that does nothing; the two run in turn. */
function* start(often: number): Generator<Claim> {
  const bare = Array<number>(often),
    ours = Array<number>(often);
  for (let i = 0; i < often; i++) {
    bare[i] = time({ command: process.execPath, args: ['-e', '0'] }, '.');
    ours[i] = time(dosimeter('.', '--version'), '.');
  }
  yield claim({
    claim: '--version',
    value: Math.min(...ours),
    peer: `node -e 0 (${process.version})`,
    peerValue: Math.min(...bare),
    goal: 1 / 1.7,
  });
}

/**
 * Times each tool on the same grid, in its folder. Throws if a report does not have a line for each
 * cell.
 */
function timed(
  cells: number,
  dirs: ReadonlyMap<Tool, string>,
  often: number,
): (tool: Tool) => Times {
  const cold = new Map<Tool, number[]>(),
    nothing = new Map<Tool, number[]>(),
    changed = new Map<Tool, number[]>();
  const note = (into: Map<Tool, number[]>, tool: Tool, dir: string): void => {
    into.set(tool, [...(into.get(tool) ?? []), time(tool.run(dir), dir)]);
  };
  const least = (of: Map<Tool, number[]>, tool: Tool): number => Math.min(...(of.get(tool) ?? []));
  const isLong = (tool: Tool): boolean => least(cold, tool) > LONG;
  for (const [tool, dir] of dirs) {
    tool.write(dir, cells);
    commitAll(dir);
  }
  // In turn, so that a drift of the machine's speed affects all alike.
  for (let round = 0; round < Math.min(3, often); round++) {
    for (const [tool, dir] of dirs) {
      if (round > 0 && isLong(tool)) continue;
      if (round > 0) tool.clean(dir);
      note(cold, tool, dir);
      const lines = tool.report(dir).trim().split('\n').length;
      if (lines !== cells)
        throw new Error(`${tool.name}'s report has ${lines} lines, not ${cells}`);
    }
  }
  for (let round = 0; round < often; round++)
    for (const [tool, dir] of dirs) if (round < 3 || !isLong(tool)) note(nothing, tool, dir);
  for (let round = 0; round < Math.min(3, often); round++) {
    for (const [tool, dir] of dirs) {
      tool.change(dir, cells, round + 1);
      note(changed, tool, dir);
    }
  }
  return (tool) => ({
    cold: least(cold, tool),
    nothing: least(nothing, tool),
    changed: least(changed, tool),
  });
}

function* compare(
  cells: number,
  tools: readonly Tool[],
  often: number,
  place: string,
): Generator<Claim> {
  const dirs = new Map(tools.map((tool) => [tool, mkdtempSync(join(place, `${tool.name}-`))]));
  const timesOf = timed(cells, dirs, often);
  const ours = timesOf(own),
    stages = stagesOf(cells);
  for (const peer of tools.filter((tool) => tool !== own)) {
    const theirs = timesOf(peer),
      goals = goalsOf(peer, cells),
      named = `${peer.name} ${peer.version()}`;
    yield claim({
      claim: `${stages} stages, nothing to do`,
      value: ours.nothing,
      peer: named,
      peerValue: theirs.nothing,
      ...(goals.nothing === undefined ? {} : { goal: goals.nothing }),
    });
    yield claim({
      claim: `${stages} stages, one cell changed`,
      value: ours.changed,
      peer: named,
      peerValue: theirs.changed,
    });
    yield claim({
      claim: `${stages} stages, cold`,
      value: ours.cold,
      peer: named,
      peerValue: theirs.cold,
      ...(goals.cold === undefined ? {} : { goal: goals.cold }),
    });
  }
  own.clean(dirs.get(own)!);
  yield makeClaim('engine', {
    claim: `${stages} stages, cold: peak memory`,
    unit: 'MB',
    sense: 'cost',
    value: peakMemory(own.run(dirs.get(own)!), dirs.get(own)!),
    peer: 'limit',
    peerValue: 200,
    goal: 1,
  });
}

function goalsOf({ name }: Tool, cells: number): Goals {
  if (cells < 200) return {};
  const large = cells >= 1000;
  switch (name) {
    case 'turbo':
      return large ? {} : { nothing: 3 };
    case 'snakemake':
      return { nothing: large ? 6 : 4, cold: 13 };
    case 'doit':
    case 'doit (commands)':
      return { nothing: 1 / 1.5, cold: 1 };
    case 'wireit':
      return { cold: 5 };
    default:
      return {};
  }
}

/**
 * Tests whether one more stage costs as much in a large grid as in a small one. Each grid has one
 * cold run, since the largest takes long.
 */
function* linear(
  sizes: readonly [number, number, number],
  often: number,
  place: string,
): Generator<Claim> {
  const seconds = sizes.map((cells) => {
    const dir = mkdtempSync(join(place, 'linear-'));
    own.write(dir, cells);
    return {
      cold: time(own.run(dir), dir),
      nothing: Math.min(
        ...Array.from({ length: Math.min(3, often) }, () => time(own.run(dir), dir)),
      ),
    };
  });
  for (const [what, named] of [
    ['nothing', 'nothing to do'],
    ['cold', 'cold'],
  ] as const) {
    const perStage = (from: number, to: number): number =>
      ((seconds[to]![what] - seconds[from]![what]) / (3 * (sizes[to]! - sizes[from]!))) * 1e6;
    yield makeClaim('engine', {
      claim: `${named}, a stage more: ${stagesOf(sizes[1])} to ${stagesOf(sizes[2])} stages`,
      unit: 'µs',
      sense: 'cost',
      value: perStage(1, 2),
      peer: `${stagesOf(sizes[0])} to ${stagesOf(sizes[1])}`,
      peerValue: perStage(0, 1),
      goal: 0.8,
    });
  }
}

/**
 * Measures the memory that `plan` takes for a large grid, and whether ten times as many cells take
 * ten times as long.
 */
function* planning(cells: number, place: string): Generator<Claim> {
  const planned = [cells / 10, cells].map((n) => {
    const dir = mkdtempSync(join(place, 'plan-'));
    own.write(dir, n);
    const command = dosimeter(dir, 'plan', 'grid.yaml');
    return { seconds: time(command, dir), megabytes: peakMemory(command, dir) };
  });
  const [small, large] = planned,
    name = `plan of ${cells.toLocaleString('en')} cells`;
  yield makeClaim('engine', {
    claim: `${name}: peak memory`,
    unit: 'MB',
    sense: 'cost',
    value: large!.megabytes,
    peer: 'limit',
    peerValue: 1000,
    goal: 1,
  });
  yield claim({
    claim: name,
    value: large!.seconds,
    peer: `ten times a plan of ${(cells / 10).toLocaleString('en')}`,
    peerValue: 10 * small!.seconds,
    goal: 0.8,
  });
}

const claim = (measurement: Omit<Measurement, 'unit' | 'sense'>): Claim =>
  makeClaim('engine', { unit: 's', sense: 'cost', ...measurement });
