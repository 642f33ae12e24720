/** `commands`: programs as stages. Each is checked against the stages there are, its files looked for, its defaults filled in. */
import { posix, resolve } from 'node:path';
import type { JsonObject } from '../api.ts';
import { fill } from './expand.ts';
import type { Report } from './faults.ts';
import { replaceNodes } from './fields.ts';
import type { Entry, MapNode, Node, ScalarNode, Span } from './node.ts';
import { expectFile, folderOf } from './paths.ts';
import { ownFirst } from './schema.ts';
import { secretVariables } from './secrets.ts';
import type { Schema } from './shape.ts';
import { all, didYouMean, nearest } from './suggest.ts';
import type { CommandInput, CommandStage, SpecRegistry, StageForm } from './types.ts';

const NAME = /^[a-z0-9][a-z0-9-]*$/;
/** Names in the program's folder that are not its own, and the one that is the store's. */
const TAKEN: ReadonlySet<string> = new Set(['inputs', 'task.json', 'manifest.json']);

const entriesOf = (root: MapNode): readonly (readonly [string, Entry])[] => {
  const node = root.entries.get('commands')?.value;
  return node?.kind === 'map' ? [...node.entries] : [];
};

/** The registry with the commands' names among its stages. */
export function withCommands(registry: SpecRegistry, root: MapNode): SpecRegistry {
  const names = entriesOf(root)
    .map(([name]) => name)
    .filter((name) => !registry.stages.includes(name));
  return names.length === 0 ? registry : { ...registry, stages: [...registry.stages, ...names] };
}

/** `file:` made absolute, from the folder of the spec that writes it. */
export async function resolveCommandFiles(root: MapNode, report: Report): Promise<MapNode> {
  const replacements = new Map<Node, Node>();
  for (const [, { value }] of entriesOf(root)) {
    for (const item of scalars(value, 'files')) {
      if (!item.value.startsWith('file:') || item.value === 'file:') continue;
      const absolute = resolve(folderOf(item), item.value.slice('file:'.length));
      await expectFile(item, absolute, report);
      replacements.set(item, { ...item, value: `file:${absolute}` });
    }
  }
  return replaceNodes(root, replacements);
}

type Text = ScalarNode & { readonly value: string };

/** The texts of a command's list; what else stands there is validation's to report. */
function scalars(command: Node, field: string): Text[] {
  const list = command.kind === 'map' ? command.entries.get(field)?.value : undefined;
  return list?.kind !== 'list'
    ? []
    : list.items.filter(
        (item): item is Text => item.kind === 'scalar' && typeof item.value === 'string',
      );
}

/** @param registry without the commands. @param fields those that a program may be told. */
export function readCommands(
  root: MapNode,
  schema: Schema,
  registry: SpecRegistry,
  fields: readonly string[],
  report: Report,
): readonly CommandStage[] {
  const forms = new Map(
    registry.stages.map((kind): [string, StageForm] => [
      kind,
      registry.stageForms?.[kind] ?? { scope: 'cell' },
    ]),
  );
  const own = entriesOf(root).filter(([name, { key }]) => isName(name, key, registry, report));
  const shape = schema.additionalProperties as Schema;
  const filled = own.map(([name, { key, value }]) => ({
    name,
    key,
    value,
    spec: fill(value, shape, {}) as JsonObject,
  }));
  for (const { name, spec } of filled)
    forms.set(name, { scope: spec['scope'] === 'experiment' ? 'experiment' : 'cell' });

  const reads = new Map<string, readonly { readonly kind: string; readonly at: Span }[]>();
  const commands = filled.map(({ name, value, spec }): CommandStage => {
    const scope = forms.get(name)!.scope;
    const inputs = scalars(value, 'inputs').flatMap((item) => {
      const input = readInput(item, name, scope, forms, report);
      return input === null ? [] : [{ ...input, at: item.span }];
    });
    reads.set(name, inputs);
    for (const item of scalars(value, 'fields'))
      if (!fields.includes(item.value))
        report(
          'unknown-key',
          item.span,
          `there is no field "${item.value}" to hand over`,
          fieldHint(item.value, fields),
        );
    checkNames(value, name, report);
    const secrets = secretVariables(value),
      { env, ...rest } = spec as unknown as Omit<CommandStage, 'name' | 'inputs' | 'secrets'>;
    return {
      ...rest,
      env: Object.fromEntries(
        Object.entries(env).filter(([variable]) => secrets[variable] === undefined),
      ),
      secrets,
      name,
      scope,
      inputs: inputs.map(({ at: _at, ...input }) => input),
    };
  });
  checkCircles(reads, report);
  return commands;
}

function isName(name: string, at: Span, { stages }: SpecRegistry, report: Report): boolean {
  if (stages.includes(name))
    report(
      'taken-name',
      at,
      `"${name}" is the name of a stage that is built in or that a plugin brings`,
      'call the command otherwise',
    );
  else if (!NAME.test(name))
    report(
      'wrong-form',
      at,
      `a command can't be called ${JSON.stringify(name)}`,
      'lower-case letters, digits and hyphens',
    );
  else return true;
  return false;
}

/** `evaluate`, `data(train)`, or another command. */
function readInput(
  item: Text,
  command: string,
  scope: StageForm['scope'],
  forms: ReadonlyMap<string, StageForm>,
  report: Report,
): CommandInput | null {
  const [, kind = item.value, narrowed] = /^([^()]*)\(([^()]*)\)$/.exec(item.value) ?? [];
  const form = forms.get(kind);
  const fault = (code: string, message: string, hint?: string): null => {
    report(code, item.span, message, hint);
    return null;
  };
  if (form === undefined) {
    const close = nearest(kind, forms.keys());
    return fault(
      'unknown-plugin',
      `there is no stage "${kind}" to read`,
      close ? didYouMean(close.word) : `the stages are ${all([...forms.keys()])}`,
    );
  }
  if (kind === command) return fault('cycle', `the command "${command}" reads itself`);
  if (form.scope === 'experiment' && scope === 'cell')
    return fault(
      'wrong-scope',
      `"${kind}" joins the whole grid, which a command of one cell can't read`,
      `give "${command}" \`scope: experiment\``,
    );
  const { parts } = form;
  if (parts === undefined)
    return narrowed === undefined
      ? { name: item.value, kind, with: {}, scope: form.scope }
      : fault('unknown-value', `"${kind}" has no parts, so no "${item.value}"`, `write "${kind}"`);
  const words = parts.values.map((value) => `"${kind}(${value})"`);
  if (narrowed === undefined)
    return fault(
      'unknown-value',
      `a cell has more than one "${kind}"`,
      `write ${words.join(' or ')}`,
    );
  if (!parts.values.includes(narrowed))
    return fault(
      'unknown-value',
      `there is no "${item.value}" to read`,
      `write ${words.join(' or ')}`,
    );
  return { name: item.value, kind, with: { [parts.field]: narrowed }, scope: form.scope };
}

function fieldHint(word: string, fields: readonly string[]): string {
  const ends = ownFirst(fields.filter((field) => field.endsWith(`.${word}`)));
  const close = ends.length === 1 ? ends[0]! : nearest(word, fields)?.word;
  return close !== undefined
    ? didYouMean(close)
    : 'fields are named in full, such as "seed", "adapter.rank" or "poisoning.attack"; what a path names is handed over by `files`';
}

/** Its files, what it is handed and what it writes lie in one folder. */
function checkNames(command: Node, name: string, report: Report): void {
  const files = new Map<string, Text>();
  for (const item of scalars(command, 'files')) {
    const own = fileName(item.value);
    if (files.has(own))
      report(
        'duplicate-value',
        item.span,
        `two files of "${name}" are called ${own}`,
        'they lie in one folder when it runs: rename one',
      );
    else if (TAKEN.has(own))
      report(
        'taken-name',
        item.span,
        `a file of "${name}" is called ${own}, a name in its folder that is taken`,
        'rename the file',
      );
    files.set(own, item);
  }
  const outputs: string[] = [];
  for (const item of scalars(command, 'outputs')) {
    const { value } = item,
      top = value.split('/')[0]!;
    if (
      value === '' ||
      value !== posix.normalize(value) ||
      value.startsWith('/') ||
      value.startsWith('.') ||
      value.endsWith('/') ||
      value.includes('\\')
    ) {
      report(
        'wrong-form',
        item.span,
        `an output is a path below the program's folder, not ${JSON.stringify(value)}`,
        'such as metrics.json or figures/roc.svg',
      );
    } else if (TAKEN.has(top) || files.has(top))
      report(
        'taken-name',
        item.span,
        `the output ${value} of "${name}" has a name that is taken in its folder`,
        'write it under another name',
      );
    else if (
      outputs.some((other) => other.startsWith(`${value}/`) || value.startsWith(`${other}/`))
    )
      report(
        'duplicate-value',
        item.span,
        `the output ${value} of "${name}" and another lie in each other`,
        'name the folder alone',
      );
    outputs.push(value);
  }
}

/** `file:attacks/a.py` → `a.py`. */
export const fileName = (uri: string): string =>
  uri.replace(/^\w+:/, '').replace(/\/+$/, '').split('/').at(-1)!;

function checkCircles(
  reads: ReadonlyMap<string, readonly { readonly kind: string; readonly at: Span }[]>,
  report: Report,
): void {
  const done = new Set<string>();
  const walk = (name: string, trail: readonly string[]): void => {
    if (done.has(name)) return;
    for (const { kind, at } of reads.get(name) ?? []) {
      const from = [...trail, name].indexOf(kind);
      if (from >= 0)
        report(
          'cycle',
          at,
          `commands read each other in a circle: ${[...[...trail, name].slice(from), kind].join(' → ')}`,
        );
      else walk(kind, [...trail, name]);
    }
    done.add(name);
  };
  for (const name of reads.keys()) walk(name, []);
}
