import { join } from 'node:path';
import type { Cell, Json, JsonObject, Problem, RunContext, StageRequest } from '../../src/api.ts';
import { defineStage, UserFault } from '../../src/api.ts';
import { namedFiles } from '../../src/command/files.ts';

/** What a spec's `commands` say of it; the engine hands it over as `with`. */
interface Asked {
  readonly name: string;
  readonly scope: 'cell' | 'experiment';
  readonly run: readonly string[];
  readonly inputs: readonly {
    readonly name: string;
    readonly kind: string;
    readonly with: JsonObject;
    readonly scope: 'cell' | 'experiment';
  }[];
  readonly fields: readonly string[];
  readonly files: readonly string[];
  readonly outputs: readonly string[];
  readonly options: JsonObject;
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  readonly secrets: { readonly [variable: string]: string };
}

interface Params {
  readonly name: string;
  readonly run: readonly string[];
  readonly files: readonly string[];
  readonly outputs: readonly string[];
  readonly options: JsonObject;
  readonly env: { readonly [name: string]: string };
  readonly pass_env: readonly string[];
  /** Variables that hold a secret, by the name of the one of ours that it is taken from; their values are in no key and no record. */
  readonly secrets: { readonly [variable: string]: string };
  /** One for each cell that it reads: what it is told of the cell, and its inputs by name → place below `inputs/`. */
  readonly cells: readonly {
    readonly fields: JsonObject;
    readonly inputs: { readonly [name: string]: string };
  }[];
  /** Inputs that join the grid themselves. */
  readonly joined: { readonly [name: string]: string };
  readonly scope: 'cell' | 'experiment';
}

interface Limits {
  readonly timeout_seconds: number;
  readonly output_mb: number;
}

const fieldOf = (cell: Cell, path: string): Json =>
  path
    .split('.')
    .reduce<unknown>(
      (value, step) => (value as { readonly [key: string]: unknown } | null)?.[step] ?? null,
      cell,
    ) as Json;

export default defineStage({
  name: 'command',
  summary: 'Runs a program as a stage; a spec declares it under `commands`, and names it.',
  compute: false,
  scope: 'cell',
  define(cells, { with: given }) {
    const { name, scope, inputs: wanted, fields, files, ...asked } = given as unknown as Asked;
    const { names, assets } = namedFiles(files, `commands.${name}.files`);
    const inputs: { [place: string]: StageRequest } = {},
      joined: { [name: string]: string } = {};
    const told = cells.map((cell, index) => {
      const places: { [name: string]: string } = {};
      for (const input of wanted) {
        const whole = input.scope === 'experiment';
        if (whole && index > 0) continue;
        const place = scope === 'cell' || whole ? input.name : `${index}/${input.name}`;
        inputs[place] = {
          kind: input.kind,
          cell,
          ...(Object.keys(input.with).length > 0 ? { with: input.with } : {}),
        };
        (whole ? joined : places)[input.name] = place;
      }
      return {
        fields: Object.fromEntries(fields.map((field) => [field, fieldOf(cell, field)])),
        inputs: places,
      };
    });
    const params: Params = { name, scope, ...asked, files: names, cells: told, joined };
    return { params: params as unknown as JsonObject, inputs, assets };
  },

  async preflight({ params }) {
    const {
      name,
      run: [program],
      files,
      secrets,
    } = params as unknown as Params;
    const unset = Object.entries(secrets).find(([, from]) => process.env[from] === undefined);
    if (unset)
      return [
        {
          path: ['commands', name, 'env', unset[0]],
          message: `the environment variable ${unset[1]} is not set`,
          hint: 'set it where dosimeter is started; a secret has no default',
        } satisfies Problem,
      ];
    const fault = await (
      await import('../../src/command/program.ts')
    ).programFault(program!, files);
    return fault === null
      ? []
      : [
          {
            path: ['commands', name, 'run', 0],
            message: fault,
            hint: 'name it by its path, or install it',
          } satisfies Problem,
        ];
  },

  run,
});

async function run({
  params: raw,
  limits: given,
  inputs,
  assets,
  outDir,
  log,
  signal,
}: RunContext): Promise<void> {
  const [{ runCommand }, { openWorkFolder }, { fileWith }] = await Promise.all([
    import('../../src/command/run.ts'),
    import('../../src/command/folder.ts'),
    import('../../src/command/leak.ts'),
  ]);
  const params = raw as unknown as Params,
    limits = given as unknown as Limits;
  const { name, scope, cells, joined, options, outputs } = params;
  const below = (places: { readonly [name: string]: string }) =>
    Object.fromEntries(Object.entries(places).map(([input, place]) => [input, `inputs/${place}`]));
  const told = cells.map((cell) => ({ fields: cell.fields, inputs: below(cell.inputs) }));
  if (cells.length === 0) throw new UserFault('there is no cell to read');
  const work = await openWorkFolder(join(outDir, '.work'), {
    files: Object.fromEntries(params.files.map((file) => [file, assets[file]!.path])),
    inputs: Object.fromEntries(Object.entries(inputs).map(([place, { dir }]) => [place, dir])),
    task: {
      name,
      ...(scope === 'cell' ? told[0]! : { cells: told, inputs: below(joined) }),
      options,
      outputs,
    },
  });
  const bytes = limits.output_mb * 1e6;
  const secrets = Object.entries(params.secrets).map(([variable, from]) => {
    const value = process.env[from];
    if (value === undefined)
      throw new UserFault(
        `the environment variable ${from} is not set`,
        'set it where dosimeter is started; a secret has no default',
      );
    return { variable, from, value };
  });
  await runCommand({
    argv: params.run,
    cwd: work.dir,
    env: {
      ...params.env,
      ...Object.fromEntries(secrets.map(({ variable, value }) => [variable, value])),
    },
    pass: params.pass_env,
    limits: { seconds: limits.timeout_seconds, outputBytes: bytes },
    log,
    signal,
  });
  await work.take(outputs, outDir, bytes);
  for (const { from, value } of secrets) {
    const leak = await fileWith(outDir, value);
    if (leak !== null)
      throw new UserFault(
        `the program wrote the secret ${from} into ${leak}`,
        'its outputs are stored, and may be shared: leave it out of them',
      );
  }
}
