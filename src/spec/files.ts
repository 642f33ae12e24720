/**
 * Reads the files of a spec. Its layers are merged: each file over those that it extends, then the
 * fields of a profile, then `--set path=value` from the command line. The paths that the spec names
 * are made absolute and their files are looked for. Texts are filled in from files. A relative path
 * starts from the folder of the spec that writes it.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import type { Report } from './faults.ts';
import { attackNode, replaceNodes, stepAt, writtenFields } from './fields.ts';
import {
  child,
  createSource,
  descendants,
  fieldsOfMap,
  isText,
  itemsOf,
  type MapNode,
  merge,
  namesAnother,
  type Node,
  oneOrMany,
  type ScalarNode,
  type Source,
  type Span,
  type TextNode,
  withEntries,
  withValue,
} from './node.ts';
import { parseYaml } from './parse.ts';
import type { Shapes } from './schema.ts';
import { all, didYouMean, nearest, suggest } from './suggest.ts';

interface Layers {
  /** All layers merged, without `extends`. */
  readonly root: MapNode;
  readonly source: Source;
}

/**
 * Reads a file merged over those that it extends; undefined, after reporting it, if one of them
 * can't be read.
 * @param written the name of the file as it is written at `from`
 * @param from the place that names the file; null for the spec itself
 * @param stack the absolute paths of the files that extend this one
 */
export async function readLayers(
  file: string,
  report: Report,
  written = file,
  from: Span | null = null,
  stack: readonly string[] = [],
): Promise<Layers | undefined> {
  const path = resolve(file);
  if (stack.includes(path)) {
    const circle = [...stack.slice(stack.indexOf(path)), path].map((step) => basename(step));
    report('cycle', from, `${file} extends itself: ${circle.join(' → ')}`);
    return undefined;
  }
  const text = await readText(file, written, from, report);
  if (text === undefined) return undefined;
  const source = createSource(file, dirname(path), text);
  const tree = parseYaml(source, report);
  if (tree?.kind !== 'map') {
    if (tree)
      report(
        'wrong-type',
        tree.span,
        `a spec is a mapping of fields, not ${tree.kind === 'list' ? 'a list' : 'a single value'}`,
        'begin with "name: …"',
      );
    else if (/^\s*(#.*\s*)*$/.test(text))
      report(
        'empty-spec',
        from,
        `${file} is empty`,
        'a spec needs at least "name", "model" and "data"',
      );
    return undefined;
  }
  let root = withEntries(tree, [['extends', undefined]]);
  const bases = child(tree, 'extends');
  let base: MapNode | undefined,
    areAllRead = true;
  for (const name of bases ? fileNames(bases, report) : []) {
    const layer = await readLayers(
      isAbsolute(name.value) ? name.value : join(dirname(file), name.value),
      report,
      name.value,
      name.span,
      [...stack, path],
    );
    if (!layer) areAllRead = false;
    else base = base ? merge(base, layer.root) : layer.root;
  }
  if (base) root = merge(base, root);
  // If a base could not be read, the fields that it sets must not be reported as missing.
  return areAllRead ? { root, source } : undefined;
}

/** Returns the file names under `extends`, and reports anything else there. */
function fileNames(node: Node, report: Report): TextNode[] {
  const names: TextNode[] = [];
  for (const item of oneOrMany(node)) {
    if (isText(item)) names.push(item);
    else report('wrong-type', item.span, '"extends" must be a file name or a list of file names');
  }
  return names;
}

/** Returns a file's text; undefined, after reporting it at `from`, if it can't be read. */
async function readText(
  file: string,
  written: string,
  from: Span | null,
  report: Report,
): Promise<string | undefined> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (error) {
    switch ((error as { readonly code?: unknown }).code) {
      case 'ENOENT':
      case 'ENOTDIR':
        report(
          'missing-file',
          from,
          `there is no file ${file}`,
          await similarFile(resolve(file), written),
        );
        break;
      case 'EISDIR':
        report('missing-file', from, `${file} is a folder, not a spec file`);
        break;
      case 'EACCES':
      case 'EPERM':
        report('unreadable-file', from, `${file} can't be read: permission denied`);
        break;
      case 'ERR_ENCODING_INVALID_ENCODED_DATA':
        report('not-text', from, `${file} is not UTF-8 text`);
        break;
      default:
        throw error;
    }
    return undefined;
  }
}

/**
 * Returns a hint, with a path in the form of `written`: the file of the installed package, or a
 * file with a similar name. If the file's folder does not exist, the hint says so. Undefined if no
 * name is similar.
 */
async function similarFile(path: string, written: string): Promise<string | undefined> {
  const packaged = `node_modules/dosimeter/${written}`;
  if (path.endsWith(written) && existsSync(path.slice(0, -written.length) + packaged))
    return `dosimeter's own file is ${packaged}`;
  const folder = dirname(path);
  const names = await readdir(folder).catch(() => null);
  if (names === null) return `there is no folder ${folder} either`;
  const close = nearest(basename(path), names);
  return close ? didYouMean(written.replace(/[^/:]*\/?$/, close.word)) : undefined;
}

/**
 * Returns the spec with a profile merged over it, and without `profiles`; undefined, after
 * reporting it, if there is no such profile. A profile that is no mapping is reported, and not
 * merged.
 * @param name the profile; if undefined, none is merged
 */
export function applyProfile(
  root: MapNode,
  name: string | undefined,
  report: Report,
): MapNode | undefined {
  const spec = withEntries(root, [['profiles', undefined]]),
    written = child(root, 'profiles');
  if (written !== undefined && written.kind !== 'map')
    report('wrong-type', written.span, '"profiles" must be a mapping, from names to fields');
  const profiles = new Map(fieldsOfMap(written));
  for (const [profile, fields] of profiles) {
    if (fields.kind !== 'map')
      report(
        'wrong-type',
        fields.span,
        `the profile "${profile}" must be a mapping of fields`,
        'one that changes nothing is written {}',
      );
    else
      for (const field of ['extends', 'profiles']) {
        const at = fields.entries.get(field)?.key;
        if (at !== undefined)
          report('misplaced-field', at, `a profile can't have "${field}"`, `write it in the spec`);
      }
  }
  if (name === undefined) return spec;
  const chosen = profiles.get(name);
  if (chosen !== undefined)
    return chosen.kind === 'map' ? { ...merge(spec, chosen), span: spec.span } : spec;
  report(
    'unknown-profile',
    { source: createSource('--profile', '.', name), start: 0, end: name.length },
    `there is no profile "${name}"`,
    suggest(name, profiles.keys()) ??
      (profiles.size === 0
        ? 'the spec has no `profiles`'
        : `the profiles of this spec are ${all([...profiles.keys()])}`),
  );
  return undefined;
}

const example = 'for example --set train.learning_rate=1.0e-4, or --set adapter.rank=[4, 8]';

/**
 * Returns the spec with each `--set path=value` merged over it. An empty or null value removes a
 * field that the spec has. A relative path in a value starts from the working directory. A faulty
 * argument is reported and left out.
 */
export function applyOverrides(root: MapNode, sets: readonly string[], report: Report): MapNode {
  for (const argument of sets) {
    const source = createSource('--set', resolve('.'), argument);
    const cut = argument.indexOf('=');
    const whole: Span = { source, start: 0, end: argument.length };
    const steps = splitPath(argument.slice(0, Math.max(cut, 0)));
    if (cut < 0 || steps.includes('')) {
      report('bad-set', whole, '--set takes path=value', example);
      continue;
    }
    if (steps[0] === 'profiles') {
      const hint = 'it sets a field of the spec, over those of --profile';
      report('bad-set', whole, "--set can't change a profile", `${hint}: ${example}`);
      continue;
    }
    let faults = 0;
    const value = parseYaml(
      source,
      (...fault) => {
        faults++;
        report(...fault);
      },
      argument.slice(cut + 1),
      cut + 1,
    ) ?? { kind: 'scalar', value: null, span: whole };
    if (faults > 0) continue;
    const changed = withValueAt(root, steps, value, { source, start: 0, end: cut }, [], report);
    if (changed.kind === 'map') root = changed;
  }
  return root;
}

/** Splits a path into steps. `adapter[1].rank` means `adapter.1.rank`. */
const splitPath = (path: string): string[] =>
  path
    .trim()
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.');

/**
 * Returns a node with `value` put below it at the steps. On the way, a mapping is made where there
 * is none, also in place of a single value. If a list on the way has no entry at its step, that is
 * reported and the list stays as it is.
 * @param at the place of the path in the argument
 * @param path the path of `node`, for messages
 */
function withValueAt(
  node: Node | undefined,
  [step, ...rest]: readonly string[],
  value: Node,
  at: Span,
  path: readonly string[],
  report: Report,
): Node {
  if (step === undefined) return value;
  const field = path.at(-1) ?? '';
  if (node?.kind === 'list') {
    const index = /^\d+$/.test(step) ? Number(step) : field === 'steps' ? stepAt(node, step) : -1;
    if (node.items[index] === undefined) {
      const positions = node.items.length === 1 ? '0' : `0 … ${node.items.length - 1}`,
        name = path.join('.');
      const attacks =
        field === 'steps' ? node.items.flatMap((item) => attackNode(item)?.value ?? []) : [];
      const known = [positions, ...attacks].join(', ');
      report(
        'bad-set',
        at,
        `"${name}" is a list: --set needs one of its entries (${known}) before "${step}"`,
        `or set the whole list: --set ${name}=[…]`,
      );
      return node;
    }
    return {
      ...node,
      items: node.items.map((item, i) =>
        i === index ? withValueAt(item, rest, value, at, [...path, step], report) : item,
      ),
    };
  }
  const map: MapNode = node?.kind === 'map' ? node : { kind: 'map', entries: new Map(), span: at };
  if (rest.length === 0) {
    if (value.kind === 'scalar' && value.value === null && !map.entries.has(step)) {
      report(
        'bad-set',
        at,
        'an empty or null value removes a field, and the spec has no ' +
          `"${[...path, step].join('.')}"`,
        'leave this --set out, or give it a value; "" is an empty text',
      );
      return node ?? map;
    }
    const entries = new Map([[step, { key: at, value }]]);
    const over: MapNode = { kind: 'map', entries, span: map.span };
    if (namesAnother(map, over, field)) reportLost(map, step, at, path, report);
    return merge(map, over, field);
  }
  const changed = withValueAt(child(map, step), rest, value, at, [...path, step], report);
  return withValue(map, step, changed, map.entries.get(step)?.key ?? at);
}

/** Reports a field of an earlier `--set` that is lost, since `step` now names another plugin. */
function reportLost(
  section: MapNode,
  step: string,
  at: Span,
  path: readonly string[],
  report: Report,
): void {
  const isSet = (value: Node): boolean =>
    [...descendants(value)].some(({ span }) => span.source.file === at.source.file);
  const lost = fieldsOfMap(section).find(([name, value]) => name !== step && isSet(value));
  if (lost === undefined) return;
  const [field, named] = [lost[0], step].map((name) => [...path, name].join('.'));
  report(
    'bad-set',
    at,
    `another "${named}" takes out "${field}", which an earlier --set gives`,
    `write --set ${named}=… before it`,
  );
}

// ---- the files that a spec names ---------------------------------------------------------------

/** Returns the absolute path of the file that a value names after `prefix`. */
const absolutePath = (node: TextNode, prefix = ''): string =>
  resolve(node.folder ?? node.span.source.folder, node.value.slice(prefix.length));

/**
 * A value that is a path after `prefix`. A value without the prefix names no file on this machine.
 */
type WrittenPath = readonly [node: TextNode, prefix: '' | 'file:'];

/**
 * Returns the sources and paths in the sections of the cells. Those with unresolved `${…}` are left
 * out.
 */
export const sectionPaths = (root: MapNode, shapes: Shapes): readonly WrittenPath[] =>
  writtenFields(root, shapes).flatMap(({ path, node, schema }) => {
    const isSource = schema.format === 'source';
    if (!isSource && schema.format !== 'path' && !path.endsWith('.init_from')) return [];
    return oneOrMany(node)
      .filter(isText)
      .filter(({ value }) => !value.includes('${'))
      .map((item): WrittenPath => [item, isSource ? 'file:' : '']);
  });

/** Returns the spec with these paths made absolute. Reports files that are missing. */
export async function resolvePaths(
  root: MapNode,
  paths: readonly WrittenPath[],
  report: Report,
): Promise<MapNode> {
  const replacements = new Map<Node, Node>();
  for (const [node, prefix] of paths) {
    if (!node.value.startsWith(prefix) || node.value === prefix) continue;
    const absolute = absolutePath(node, prefix);
    await expectFile(node, absolute, report);
    replacements.set(node, { ...node, value: prefix + absolute });
  }
  return replaceNodes(root, replacements);
}

/**
 * Returns the spec with the paths of the modules under `plugins` made absolute, and these paths. A
 * module that does not exist is reported and left out.
 */
export async function resolveModules(
  root: MapNode,
  report: Report,
): Promise<{ readonly root: MapNode; readonly modules: readonly string[] }> {
  const replacements = new Map<Node, TextNode>();
  for (const item of itemsOf(child(root, 'plugins')).filter(isText)) {
    const absolute = absolutePath(item);
    if (await expectFile(item, absolute, report))
      replacements.set(item, { ...item, value: absolute });
  }
  const modules = [...replacements.values()].map(({ value }) => value);
  return { root: replaceNodes(root, replacements), modules };
}

/** Whether a file exists. If it does not, reports that at the node that names the file. */
async function expectFile(node: ScalarNode, absolute: string, report: Report): Promise<boolean> {
  if (existsSync(absolute)) return true;
  const hint = await similarFile(absolute, String(node.value));
  report('missing-file', node.span, `there is no file ${absolute}`, hint);
  return false;
}

/** The largest text file, in bytes. No model reads a text of this length. */
const MOST_BYTES = 2 ** 20;

/**
 * Returns the spec with the texts of files in place of `{ file: … }`. Where a file can't be read,
 * which is reported, `{ file: … }` stays.
 */
export async function fillTextFiles(
  root: MapNode,
  shapes: Shapes,
  report: Report,
): Promise<MapNode> {
  const replacements = new Map<Node, Node>();
  for (const { node, schema } of writtenFields(root, shapes)) {
    if (schema.textFile !== true) continue;
    for (const item of oneOrMany(node)) {
      const file = item.kind === 'map' && item.entries.size === 1 ? child(item, 'file') : undefined;
      const text = isText(file) ? await readTextValue(file, report) : null;
      if (text !== null) replacements.set(item, { kind: 'scalar', value: text, span: item.span });
    }
  }
  return replaceNodes(root, replacements);
}

/**
 * Returns a file's text without its last line break. Returns null, after reporting why, if the file
 * is missing, is no regular file, is blank, is not UTF-8, or is larger than MOST_BYTES.
 */
export async function readTextValue(file: TextNode, report: Report): Promise<string | null> {
  const path = absolutePath(file);
  if (!(await expectFile(file, path, report))) return null;
  /** Reports what is wrong with the file. Returns null. */
  const fault = (message: string, hint: string): null => {
    report('bad-text-file', file.span, `${path} ${message}`, hint);
    return null;
  };
  const found = await stat(path);
  if (!found.isFile()) return fault('is not a file', 'name a text file');
  if (found.size > MOST_BYTES)
    return fault(`has ${found.size} bytes`, `a text may have at most ${MOST_BYTES}`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
  } catch {
    return fault('is not text in UTF-8', 'save it as UTF-8');
  }
  const own = text.replace(/\r?\n$/, '');
  return own.trim() === '' ? fault('is empty', 'write the text into it') : own;
}
