/** Reads `commands`: programs as stages. */
import { posix } from 'node:path';
import { fill } from './choices.ts';
import type { Report } from './faults.ts';
import { secretVariables } from './interpolate.ts';
import {
  child,
  type Entry,
  isText,
  itemsOf,
  type MapNode,
  type Node,
  type Span,
  type TextNode,
} from './node.ts';
import { preferOutsideBase } from './schema.ts';
import type { Schema } from './shape.ts';
import { all, didYouMean, suggest } from './suggest.ts';
import type { CommandInput, CommandStage, SpecRegistry, StageForm } from './types.ts';

/** What a command or a task may be called. */
export const PLAIN_NAME = /^[a-z0-9][a-z0-9-]*$/;
/**
 * Names that a program's files and outputs can't have: the runner or the store writes files of
 * these names.
 */
const TAKEN: ReadonlySet<string> = new Set(['inputs', 'task.json', 'manifest.json']);

/** Returns the commands under `commands` by name; an empty list if `commands` is no mapping. */
const commandEntries = (root: MapNode): readonly (readonly [string, Entry])[] => {
  const node = child(root, 'commands');
  return node?.kind === 'map' ? [...node.entries] : [];
};

/** Returns the registry with the spec's commands among its stages. */
export function withCommands(registry: SpecRegistry, root: MapNode): SpecRegistry {
  const names = commandEntries(root)
    .map(([name]) => name)
    .filter((name) => !registry.stages.includes(name));
  return names.length === 0 ? registry : { ...registry, stages: [...registry.stages, ...names] };
}

export const commandFiles = (root: MapNode): readonly TextNode[] =>
  commandEntries(root).flatMap(([, { value }]) => listTexts(value, 'files'));

/**
 * Returns the texts in a command's list `field`; an empty list if it is no list. Validation reports
 * anything else in it.
 */
const listTexts = (command: Node, field: string): TextNode[] =>
  itemsOf(child(command, field)).filter(isText);

/** The inputs of a command, each with its place in the spec. */
type Reads = readonly (CommandInput & { readonly at: Span })[];

/**
 * Returns the commands of a spec, and reports their faults.
 * @param schema the schema of one command
 * @param registry the registry without the commands
 * @param fields the fields of a cell whose values a program may get
 */
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
  const own = commandEntries(root).filter(([name, { key }]) =>
    isFreeName(name, key, registry, report),
  );
  const filled = own.map(([name, { value }]) => {
    const spec = fill(value, schema, {}) as unknown as FilledCommand;
    const scope: StageForm['scope'] = spec.scope === 'experiment' ? 'experiment' : 'cell';
    return { name, value, scope, spec };
  });
  for (const { name, scope } of filled) forms.set(name, { scope });

  const reads = new Map<string, Reads>();
  const commands = filled.map(({ name, value, scope, spec: { env, ...rest } }): CommandStage => {
    const inputs = listTexts(value, 'inputs').flatMap((item) => {
      const input = readInput(item, name, scope, forms, report);
      return input === null ? [] : [{ ...input, at: item.span }];
    });
    reads.set(name, inputs);
    for (const item of listTexts(value, 'fields'))
      if (!fields.includes(item.value))
        report(
          'unknown-key',
          item.span,
          `there is no field "${item.value}" to pass to a program`,
          fieldHint(item.value, fields),
        );
    checkNames(value, name, report);
    const secrets = secretVariables(value);
    return {
      ...rest,
      env: Object.fromEntries(
        Object.entries(env ?? {}).filter(([variable]) => !Object.hasOwn(secrets, variable)),
      ),
      secrets,
      name,
      scope,
      inputs: inputs.map(({ at: _at, ...input }) => input),
    };
  });
  checkCycles(reads, report);
  return commands;
}

/** A command with its defaults. Validation may have found faults, such as an `env` of null. */
interface FilledCommand extends Omit<CommandStage, 'name' | 'inputs' | 'secrets' | 'env'> {
  readonly env: CommandStage['env'] | null;
}

/** Whether a command may have this name. Reports why, if it may not. */
function isFreeName(name: string, at: Span, { stages }: SpecRegistry, report: Report): boolean {
  if (stages.includes(name))
    report(
      'taken-name',
      at,
      `"${name}" is the name of a stage that is built in or that a plugin brings`,
      'give the command another name',
    );
  else if (!PLAIN_NAME.test(name))
    report(
      'wrong-form',
      at,
      `a command can't be called ${JSON.stringify(name)}`,
      'use lower-case letters, digits and hyphens',
    );
  else return true;
  return false;
}

/**
 * Returns the stage that an input names: `evaluate`, `data(train)` or another command. Null, after
 * reporting it, if a command of this name and scope can't read such a stage.
 */
function readInput(
  item: TextNode,
  command: string,
  scope: StageForm['scope'],
  forms: ReadonlyMap<string, StageForm>,
  report: Report,
): CommandInput | null {
  const [, kind = item.value, narrowed] = /^([^()]*)\(([^()]*)\)$/.exec(item.value) ?? [];
  const form = forms.get(kind);
  /** Reports a fault of the input. Returns null. */
  const fault = (code: string, message: string, hint?: string): null => {
    report(code, item.span, message, hint);
    return null;
  };
  if (form === undefined) {
    return fault(
      'unknown-plugin',
      `there is no stage "${kind}" to read`,
      suggest(kind, forms.keys()) ?? `the stages are ${all([...forms.keys()])}`,
    );
  }
  if (kind === command) return fault('cycle', `the command "${command}" reads itself`);
  if (form.scope === 'experiment' && scope === 'cell')
    return fault(
      'wrong-scope',
      `"${kind}" joins the whole grid; a command that runs once per cell can't read it`,
      `give "${command}" \`scope: experiment\``,
    );
  const { parts } = form;
  if (parts === undefined)
    return narrowed === undefined
      ? { name: item.value, kind, with: {}, scope: form.scope }
      : fault(
          'unknown-value',
          `"${kind}" has no parts, so there is no "${item.value}"`,
          `write "${kind}"`,
        );
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

/**
 * Returns a hint for a field that does not exist: the one field that ends in `.WORD`; otherwise a
 * field with a similar name; otherwise how fields are named.
 */
function fieldHint(word: string, fields: readonly string[]): string {
  const ends = preferOutsideBase(fields.filter((field) => field.endsWith(`.${word}`)));
  if (ends.length === 1) return didYouMean(...ends);
  return (
    suggest(word, fields) ??
    'fields are named in full, such as "seed", "adapter.rank" or "poisoning.attack"; a file or ' +
      'folder is passed with `files`'
  );
}

/** Reports files and outputs whose names clash in the program's folder, which holds them all. */
function checkNames(command: Node, name: string, report: Report): void {
  const files = new Set<string>();
  for (const item of listTexts(command, 'files')) {
    const base = fileName(item.value);
    if (files.has(base))
      report(
        'duplicate-value',
        item.span,
        `two files of "${name}" are called ${base}`,
        'they lie in one folder when it runs: rename one',
      );
    else if (TAKEN.has(base))
      report(
        'taken-name',
        item.span,
        `a file of "${name}" is called ${base}, a name that is taken in the program's folder`,
        'rename the file',
      );
    files.add(base);
  }
  checkOutputs(listTexts(command, 'outputs'), name, files, report);
}

/**
 * Reports outputs that are no path below the program's folder, and outputs whose names clash.
 * @param files the names of the command's files
 */
function checkOutputs(
  items: readonly TextNode[],
  name: string,
  files: ReadonlySet<string>,
  report: Report,
): void {
  const outputs: string[] = [];
  for (const item of items) {
    const { value } = item,
      [top = value] = value.split('/');
    if (!isPathBelow(value)) {
      report(
        'wrong-form',
        item.span,
        `an output must be a path below the program's folder, not ${JSON.stringify(value)}`,
        'such as metrics.json or figures/roc.svg',
      );
    } else if (TAKEN.has(top) || files.has(top))
      report(
        'taken-name',
        item.span,
        `the output ${value} of "${name}" has a name that is taken in the program's folder`,
        'write it under another name',
      );
    else if (
      outputs.some((other) => other.startsWith(`${value}/`) || value.startsWith(`${other}/`))
    )
      report(
        'duplicate-value',
        item.span,
        `the output ${value} of "${name}" overlaps with another output`,
        'list the folder alone',
      );
    outputs.push(value);
  }
}

/**
 * Whether a relative path is in normal form, leads below the folder that it starts from, does not
 * begin with a dot, does not end with a slash, and has no backslash.
 */
const isPathBelow = (path: string): boolean =>
  path !== '' &&
  path === posix.normalize(path) &&
  !path.startsWith('/') &&
  !path.startsWith('.') &&
  !path.endsWith('/') &&
  !path.includes('\\');

/** Returns the last part of a file's URI: `a.py` for `file:attacks/a.py`. */
const fileName = (uri: string): string =>
  uri.replace(/^\w+:/, '').replace(/\/+$/, '').split('/').at(-1) ?? uri;

function checkCycles(reads: ReadonlyMap<string, Reads>, report: Report): void {
  const done = new Set<string>();
  /**
   * Looks for circles from a command.
   * @param trail the commands that led to it, each reading the next
   */
  const walk = (name: string, trail: readonly string[]): void => {
    if (done.has(name)) return;
    for (const { kind, at } of reads.get(name) ?? []) {
      const from = [...trail, name].indexOf(kind);
      if (from >= 0) {
        const circle = [...[...trail, name].slice(from), kind];
        report('cycle', at, `commands read each other in a circle: ${circle.join(' → ')}`);
      } else walk(kind, [...trail, name]);
    }
    done.add(name);
  };
  for (const name of reads.keys()) walk(name, []);
}
