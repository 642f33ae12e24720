/**
 * Fills in the texts that a spec takes from files: `{ file: answer.txt }` stands for the content of
 * answer.txt where the schema of a plugin's parameter has `textFile`. Cells and keys then have the
 * text, whatever the file is called.
 */
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Report } from './faults.ts';
import { replaceNodes, writtenFields } from './fields.ts';
import type { MapNode, Node, ScalarNode, TextNode } from './node.ts';
import { isText } from './node.ts';
import { expectFile, folderOf } from './paths.ts';
import type { Shapes } from './schema.ts';

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
