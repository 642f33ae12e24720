/**
 * Makes the paths of files that a spec names absolute, and looks for each file. A relative path
 * starts from the folder of the spec that writes it.
 */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Report } from './faults.ts';
import { replaceNodes, writtenFields } from './fields.ts';
import { similarFile } from './layers.ts';
import type { MapNode, Node, ScalarNode } from './node.ts';
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
