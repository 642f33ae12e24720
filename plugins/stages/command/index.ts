import { defineStage, type JsonObject, type StageRequest } from '../../../src/api.ts';
import { valueAt } from '../../../src/base/record.ts';
import { namedFiles } from '../shared/program-files.ts';

export default defineStage<Params>({
  name: 'command',
  summary:
    'Runs a program as a stage. A spec declares the program under `commands`, and names ' +
    'the stage.',
  compute: false,
  scope: 'cell',
  define(cells, { with: given }) {
    // `given` is the declaration under `commands`, whole. It was checked when the spec was parsed.
    const { inputs: wanted, fields, files, ...asked } = given as Asked;
    const { names, assets } = namedFiles(files, `commands.${asked.name}.files`);
    const inputs: { [place: string]: StageRequest } = {};
    const joined: { [name: string]: string } = {};
    const cellTasks = cells.map((cell, index) => {
      const places: { [name: string]: string } = {};
      for (const input of wanted) {
        const isJoined = input.scope === 'experiment';
        if (isJoined && index > 0) continue;
        const place = asked.scope === 'cell' || isJoined ? input.name : `${index}/${input.name}`;
        inputs[place] = { kind: input.kind, cell, with: input.with };
        (isJoined ? joined : places)[input.name] = place;
      }
      return {
        fields: Object.fromEntries(
          fields.map((field) => [field, valueAt(cell, field.split('.')) ?? null]),
        ),
        inputs: places,
      };
    });
    return { params: { ...asked, files: names, cells: cellTasks, joined }, inputs, assets };
  },
  preflight: async (context) => (await import('./run.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});

type Scope = 'cell' | 'experiment';
type Texts = { readonly [name: string]: string };

/** The part of a declaration that enters the stage's parameters unchanged. */
type Declared = {
  readonly name: string;
  readonly scope: Scope;
  readonly run: readonly string[];
  readonly outputs: readonly string[];
  readonly options: JsonObject;
  readonly env: Texts;
  readonly pass_env: readonly string[];
  /**
   * For each variable through which the program gets a secret: the variable of this process that
   * holds the secret.
   */
  readonly secrets: Texts;
};

type Asked = Declared & {
  readonly inputs: readonly {
    readonly name: string;
    readonly kind: string;
    readonly with: JsonObject;
    readonly scope: Scope;
  }[];
  readonly fields: readonly string[];
  /** The source URIs of the files. */
  readonly files: readonly string[];
};

export type Params = Declared & {
  /** The names of the files in the program's folder. */
  readonly files: readonly string[];
  /**
   * For each cell that the stage reads: the cell's fields that the program gets, and its inputs.
   */
  readonly cells: readonly {
    readonly fields: JsonObject;
    /** By the name of an input: where it lies below `inputs/`. */
    readonly inputs: Texts;
  }[];
  /**
   * By the name of an input that is made once for the whole grid: where it lies below `inputs/`.
   */
  readonly joined: Texts;
};

export type Limits = { readonly timeout_seconds: number; readonly output_mb: number };
