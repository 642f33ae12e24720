/**
 * Stages of a test, written as functions. The text of a function becomes a plugin module that
 * workers import, so a function may use nothing but its arguments and globals.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Cell, Json, Resources, RunContext } from '../../../src/api.ts';
import type { Failed, Finished, Outcome, RunEvent } from '../../../src/run/log/events.ts';
import type { Rig, RigResult } from '../../rig/rig.ts';

/** What the function of a stage receives. */
export interface Tools {
  readonly ctx: RunContext;
  readonly fs: typeof fs;
  /** The seed of its cell. */
  readonly seed: number;
  /** The values of `given`. */
  readonly given: { readonly [name: string]: string };
  /** Writes an output. */
  readonly put: (name: string, text: string) => void;
  /** Reads a file of an input. */
  readonly get: (input: string, name: string) => string;
  /** Fails as a plugin does where the user's data are at fault. */
  readonly fault: (message: string, hint?: string) => never;
  readonly sleep: (ms: number) => Promise<void>;
  /** Never resolves. */
  readonly hang: () => Promise<never>;
}

type Params = { readonly [name: string]: Json };
export type Body = (tools: Tools) => void | Promise<void>;

export interface StageOfTest {
  readonly run: Body;
  /** The stage kinds of the same cell that it reads, by input name. */
  readonly inputs?: { readonly [name: string]: string };
  /** Sources by name. */
  readonly assets?: { readonly [name: string]: string };
  /** Values that the test hands to `run`. */
  readonly given?: { readonly [name: string]: string };
  /** The fields of the cell that are its parameters; default: the seed alone. */
  readonly params?: readonly (keyof Cell)[];
  /**
   * Whether it joins the cells of the experiment. If so, it has the inputs of each cell as
   * `KIND-INDEX`.
   */
  readonly joins?: boolean;
  readonly volatile?: readonly string[];
  readonly uses?: readonly { readonly kind: string; readonly name: string }[];
  readonly resources?: (params: Params) => Resources;
  /** Present where its stages may share a job. */
  readonly pack?: { readonly memoryMB?: (params: Params) => number };
}

/** Adds a stage to the rig, or edits it. */
export function addStage(rig: Rig, kind: string, stage: StageOfTest): Promise<void> {
  return rig.plugin('stage', kind, descriptorOf(stage));
}

/** Returns an expression that makes the function again: its text as the loader has compiled it. */
function textOf(fn: (...args: never[]) => unknown): string {
  const text = String(fn);
  const isMethod = !/^(async\s*)?(function\b|\(|\w+\s*=>)/.test(text);
  return isMethod ? `Object.values({ ${text} })[0]` : `(${text})`;
}

function descriptorOf(stage: StageOfTest): string {
  const { run, joins = false, inputs = {}, assets = {}, given = {}, params = ['seed'] } = stage;
  const inputsOf = joins
    ? `Object.fromEntries(cells.flatMap((cell, i) => ${JSON.stringify(Object.entries(inputs))}
        .map(([name, kind]) => [name + '-' + i, { kind, cell }])))`
    : `Object.fromEntries(${JSON.stringify(Object.entries(inputs))}
        .map(([name, kind]) => [name, { kind, cell: cells[0] }]))`;
  return `(() => {
    const __name = (fn) => fn; // the loader's helper for names
    const body = ${textOf(run)};
    const tools = ${textOf(toolsOf)};
    return {
      compute: false,
      scope: '${joins ? 'experiment' : 'cell'}',
      ${joins ? 'tolerant: true,' : ''}
      ${stage.resources ? `resources: ${textOf(stage.resources)},` : ''}
      volatile: ${JSON.stringify(stage.volatile ?? [])},
      define: (cells) => ({
        params: ${joins} ? {} : Object.fromEntries(
          ${JSON.stringify(params)}.map((field) => [field, cells[0][field]])),
        inputs: ${inputsOf},
        assets: ${JSON.stringify(assets)},
        uses: ${JSON.stringify(stage.uses ?? [])},
      }),
      run: async (ctx) => body(tools(ctx, ${JSON.stringify(given)}, await import('node:fs'))),
      ${packOf(stage)}
    };
  })()`;
}

function packOf({ pack }: StageOfTest): string {
  if (pack === undefined) return '';
  return pack.memoryMB === undefined
    ? 'pack: {},'
    : `pack: { memoryMB: async ({ params }) => ${textOf(pack.memoryMB)}(params) },`;
}

function toolsOf(ctx: RunContext, given: Tools['given'], files: typeof fs): Tools {
  return {
    ctx,
    fs: files,
    given,
    seed: ctx.params['seed'] as number,
    put: (name, text) => files.writeFileSync(`${ctx.outDir}/${name}`, text),
    get: (input, name) => files.readFileSync(`${ctx.inputs[input]?.dir ?? ''}/${name}`, 'utf8'),
    fault(message, hint) {
      throw Object.assign(new Error(message), { name: 'UserFault', hint });
    },
    sleep: (ms) =>
      new Promise((resolve) => {
        setTimeout(resolve, ms);
      }),
    hang: () => new Promise(() => undefined),
  };
}

// ---- what became of a run ----------------------------------------------------------------------

export function finished(outcome: Outcome | undefined): Finished {
  if (outcome?.state === 'ran' || outcome?.state === 'cached') return outcome;
  throw new Error(`it is not finished: ${JSON.stringify(outcome)}`);
}

export function failed(outcome: Outcome | undefined): Failed {
  if (outcome?.state === 'failed') return outcome;
  throw new Error(`it has not failed: ${JSON.stringify(outcome)}`);
}

/** Reads a file of a finished stage. */
export const outputOf = (outcome: Outcome | undefined, name: string): string =>
  fs.readFileSync(path.join(finished(outcome).dir, name), 'utf8');

export const notesOf = ({ events }: Pick<RigResult, 'events'>): readonly string[] =>
  events.flatMap((event) => (event.type === 'note' ? [event.message] : []));

/** Reads the log of a stage. */
export function logOf(
  { events }: { readonly events: readonly RunEvent[] },
  kind: string,
  seed?: number,
): string {
  const started = events.findLast(
    (event) =>
      event.type === 'stage-started' &&
      event.stage.kind === kind &&
      (seed === undefined || event.stage.seed === seed),
  );
  if (started?.type !== 'stage-started') throw new Error(`no ${kind} has started`);
  return fs.readFileSync(started.log, 'utf8');
}
