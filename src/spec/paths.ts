/**
 * Makes the paths of files that a spec names absolute, looks for each file, and fills in the texts
 * that the spec takes from files. A relative path starts from the folder of the spec that writes it.
 */
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Report } from './faults.ts';
import { replaceNodes, writtenFields } from './fields.ts';
import { similarFile } from './layers.ts';
import type { MapNode, Node, ScalarNode, TextNode } from './node.ts';
import { isText } from './node.ts';
import type { Shapes } from './schema.ts';
import type { Schema } from './shape.ts';

/** Whether the field is a path: it has `format: path`, or the name `init_from`. */
const isPath = (path: string, schema: Schema): boolean =>
  schema.format === 'path' || path.endsWith('.init_from');

/** Returns the folder that a relative path in a value starts from. */
export const folderOf = (node: ScalarNode): string => node.folder ?? node.span.source.folder;

/** Returns the spec with the paths in its cells' sections made absolute. Reports missing files. */
export async function resolvePaths(
  root: MapNode,
  shapes: Shapes,
  report: Report,
): Promise<MapNode> {
  const replacements = new Map<Node, Node>();
  for (const { path, node, schema } of writtenFields(root, shapes)) {
    const prefix = schema.format === 'source' ? 'file:' : '';
    if (prefix === '' && !isPath(path, schema)) continue;
    for (const item of node.kind === 'list' ? node.items : [node]) {
      if (!isText(item)) continue;
      if (!item.value.startsWith(prefix) || item.value === prefix || item.value.includes('${'))
        continue;
      const absolute = resolve(folderOf(item), item.value.slice(prefix.length));
      await expectFile(item, absolute, report);
      replacements.set(item, { ...item, value: prefix + absolute });
    }
  }
  return replaceNodes(root, replacements);
}

/**
 * Returns the spec with the paths under `plugins` made absolute, and the paths of the modules that
 * exist. Entries that are not text are left for validation to report.
 */
export async function resolveModules(
  root: MapNode,
  report: Report,
): Promise<{ readonly root: MapNode; readonly modules: readonly string[] }> {
  const replacements = new Map<Node, Node>();
  const modules: string[] = [];
  const list = root.entries.get('plugins')?.value;
  for (const item of list?.kind === 'list' ? list.items : []) {
    if (!isText(item)) continue;
    const absolute = resolve(folderOf(item), item.value);
    if (!(await expectFile(item, absolute, report))) continue;
    modules.push(absolute);
    replacements.set(item, { ...item, value: absolute });
  }
  return { root: replaceNodes(root, replacements), modules };
}

/** Whether a file exists. If it does not, reports that at the node that names it. */
export async function expectFile(
  node: ScalarNode,
  absolute: string,
  report: Report,
): Promise<boolean> {
  const exists = await stat(absolute).then(
    () => true,
    () => false,
  );
  if (!exists)
    report(
      'missing-file',
      node.span,
      `there is no file ${absolute}`,
      await similarFile(absolute, String(node.value)),
    );
  return exists;
}

/** The largest file. A text of this length fits no model. */
const MOST_BYTES = 2 ** 20;

/** Returns the node that names the file, or undefined if the value does not have this form. */
function fileOf(node: Node): TextNode | undefined {
  if (node.kind !== 'map' || node.entries.size !== 1) return undefined;
  const file = node.entries.get('file')?.value;
  return isText(file) ? file : undefined;
}

/**
 * Returns the spec with these texts in place of the names of their files. A file that can't be read
 * is reported, and its value stays.
 */
export async function fillTextFiles(
  root: MapNode,
  shapes: Shapes,
  report: Report,
): Promise<MapNode> {
  const replacements = new Map<Node, Node>();
  for (const { node, schema } of writtenFields(root, shapes)) {
    if (schema.textFile !== true) continue;
    for (const item of node.kind === 'list' ? node.items : [node]) {
      const file = fileOf(item);
      const text = file === undefined ? null : await readText(file, report);
      if (text === null) continue;
      const filled: ScalarNode = { kind: 'scalar', value: text, quoted: true, span: item.span };
      replacements.set(item, filled);
    }
  }
  return replaceNodes(root, replacements);
}

/**
 * Returns the text of a file without the line break at its end. Returns null, after reporting it,
 * if there is none.
 */
async function readText(file: TextNode, report: Report): Promise<string | null> {
  const path = resolve(folderOf(file), file.value);
  if (!(await expectFile(file, path, report))) return null;
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
