/** The documents of the repository, and the fenced blocks in them. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../../', import.meta.url));

export const read = (file: string): string => readFileSync(path.join(repository, file), 'utf8');

export const documents: readonly string[] = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(path.join(repository, 'docs'), { recursive: true, encoding: 'utf8' })
    .map((file) => `docs/${file.replaceAll('\\', '/')}`)
    .filter((file) => file.endsWith('.md'))
    .sort(),
];

export interface Block {
  /** `docs/guides/report.md:7`, the line of its fence. */
  readonly place: string;
  /** What follows the fence: `sh`, `yaml`, `js`. */
  readonly language: string;
  readonly text: string;
}

/** The fenced blocks of a document. @throws Error where one is not closed */
export function blocksOf(file: string): Block[] {
  const blocks: Block[] = [];
  let open: { place: string; language: string; lines: string[] } | null = null;
  for (const [index, line] of read(file).split('\n').entries()) {
    if (!line.startsWith('```')) {
      open?.lines.push(line);
    } else if (open === null) {
      open = { place: `${file}:${index + 1}`, language: line.slice(3).trim(), lines: [] };
    } else {
      const { lines, ...rest } = open;
      blocks.push({ ...rest, text: `${lines.join('\n')}\n` });
      open = null;
    }
  }
  if (open !== null) throw new Error(`${open.place}: the block is not closed`);
  return blocks;
}

export const allBlocks: readonly Block[] = documents.flatMap(blocksOf);

export const blocksIn = (language: string): readonly Block[] =>
  allBlocks.filter((block) => block.language === language);
