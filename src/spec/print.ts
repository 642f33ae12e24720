import { createColors } from 'picocolors';
import stringWidth from 'string-width';
import type { Diagnostic, SourceRange } from './types.ts';

/**
 * The most columns of a line that are shown, if the terminal is wide enough. A longer line is cut
 * to a window around the fault, with at least CONTEXT columns of what follows the fault.
 */
const WIDEST = 120,
  CONTEXT = 20;

/**
 * Returns diagnostics as text of this form:
 *
 *     error[unknown-key]: unknown key "batchsize" in "train"
 *       --> spec.yaml:12:3
 *        |
 *     12 |   batchsize: 8
 *        |   ^^^^^^^^^
 *        = did you mean "batch_size"?
 *
 * Diagnostics are separated by blank lines and followed by their count. Control characters in text
 * from files are replaced. Without diagnostics, the text is empty.
 * @param width the terminal's columns
 */
export function printDiagnostics(
  diagnostics: readonly Diagnostic[],
  { color, width = Infinity }: { readonly color: boolean; readonly width?: number },
): string {
  if (diagnostics.length === 0) return '';
  const paint = createColors(color);
  const blocks = diagnostics.map(({ code, message, range, hint }) => {
    const kind = paint.red(paint.bold(`error[${code}]`)),
      title = `${kind}${paint.bold(`: ${visible(message)}`)}`;
    const margin = ' '.repeat(range ? String(range.line).length : 1);
    const help = hint === undefined ? [] : [`${margin} ${paint.blue('=')} ${visible(hint)}`];
    if (!range) return [title, ...help].join('\n');
    const { before, fault, after } = excerpt(range, Math.min(WIDEST, width - margin.length - 3));
    const indent = ' '.repeat(stringWidth(before)),
      squiggle = '^'.repeat(Math.max(stringWidth(fault), 1));
    return [
      title,
      `${margin}${paint.blue('-->')} ${visible(range.file)}:${range.line}:${range.column}`,
      `${margin} ${paint.blue('|')}`,
      `${paint.blue(`${range.line} |`)} ${before}${fault}${after}`.trimEnd(),
      `${margin} ${paint.blue('|')} ${indent}${paint.red(squiggle)}`,
      ...help,
    ].join('\n');
  });
  const count = diagnostics.length === 1 ? '1 error' : `${diagnostics.length} errors`;
  return `${blocks.join('\n\n')}\n\n${count}\n`;
}

/** Returns the text before, in and after a range of a line, in at most `room` columns together. */
function excerpt({ text, column, endColumn }: SourceRange, room: number) {
  const [start, end] = [column - 1, endColumn - 1];
  const fault = cut(Array.from(visible(text.slice(start, end))), room).join('');
  const left = room - stringWidth(fault),
    rest = visible(text.slice(end));
  const backwards = Array.from(visible(text.slice(0, start))).reverse();
  const before = [...cut(backwards, left - Math.min(CONTEXT, stringWidth(rest)))]
    .reverse()
    .join('');
  const after = cut(Array.from(rest), left - stringWidth(before)).join('');
  return { before, fault, after };
}

/**
 * Returns the characters; if they take more than `room` columns, the first ones and an ellipsis.
 */
function cut(characters: readonly string[], room: number): readonly string[] {
  let width = 0,
    kept = 0;
  for (const character of characters) {
    width += stringWidth(character);
    if (width > room) return room < 1 ? [] : [...characters.slice(0, kept), '…'];
    if (width < room) kept++;
  }
  return characters;
}

/** Replaces control characters, which must not reach the terminal. A tab stays one column wide. */
const visible = (text: string): string =>
  text.replace(/\t/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');
