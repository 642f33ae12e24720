import { type Cell, defineStage, type Json, type StageRequest } from '../../../src/api.ts';
import { namedFiles } from '../shared/program-files.ts';
import type { Asked, Params } from './params.ts';

export default defineStage<Params>({
  name: 'command',
  summary:
    'Runs a program as a stage. A spec declares the program under `commands`, and names ' +
    'the stage.',
  compute: false,
  scope: 'cell',
  define(cells, { with: given }) {
    // The spec phase has checked the declaration, and the engine passes it on whole.
    const { inputs: wanted, fields, files, ...asked } = given as Asked;
    const { names, assets } = namedFiles(files, `commands.${asked.name}.files`);
    const inputs: { [place: string]: StageRequest } = {};
    const joined: { [name: string]: string } = {};
    const told = cells.map((cell, index) => {
      const places: { [name: string]: string } = {};
      for (const input of wanted) {
        const whole = input.scope === 'experiment';
        if (whole && index > 0) continue;
        const place = asked.scope === 'cell' || whole ? input.name : `${index}/${input.name}`;
        const narrowed = Object.keys(input.with).length > 0 ? { with: input.with } : {};
        inputs[place] = { kind: input.kind, cell, ...narrowed };
        (whole ? joined : places)[input.name] = place;
      }
      return {
        fields: Object.fromEntries(fields.map((field) => [field, fieldOf(cell, field)])),
        inputs: places,
      };
    });
    return { params: { ...asked, files: names, cells: told, joined }, inputs, assets };
  },
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});

/** Returns the value of a cell's field by its dotted path, or null if there is none. */
function fieldOf(cell: Cell, path: string): Json {
  let value: unknown = cell;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null) return null;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return (value ?? null) as Json;
}
