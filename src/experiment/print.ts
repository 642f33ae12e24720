/** Prints diagnostics for a terminal. */
import { createColors } from 'picocolors';
import type { Diagnostic, SourceRange } from './types.ts';

/**
 * The most characters of a line that is shown. A longer line is cut to a window around the fault.
 */
const WIDEST = 120;

/**
 *     error[unknown-key]: unknown key "batchsize" in "train"
 *       --> spec.yaml:12:3
 *        |
 *     12 |   batchsize: 8
 *        |   ^^^^^^^^^
 *        = did you mean "batch_size"?
 *
 * Diagnostics are separated by blank lines and followed by their count. Control characters in text
 * from files are replaced.
 */
export function printDiagnostics(
  diagnostics: readonly Diagnostic[],
  { color }: { readonly color: boolean },
): string {
  if (diagnostics.length === 0) return '';
  const paint = createColors(color);
  const blocks = diagnostics.map(({ code, message, range, hint }) => {
    const kind = paint.red(paint.bold(`error[${code}]`)),
      title = `${kind}${paint.bold(`: ${visible(message)}`)}`;
    const margin = ' '.repeat(range ? String(range.line).length : 1);
    const help = hint === undefined ? [] : [`${margin} ${paint.blue('=')} ${visible(hint)}`];
    if (!range) return [title, ...help].join('\n');
    const { before, fault, after } = excerpt(range);
    const indent = ' '.repeat(Array.from(before).length),
      squiggle = '^'.repeat(Math.max(Array.from(fault).length, 1));
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

function excerpt({ text, column, endColumn }: SourceRange): {
  readonly before: string;
  readonly fault: string;
  readonly after: string;
} {
  const start = column - 1,
    end = Math.min(endColumn - 1, start + WIDEST);
  const from = end > WIDEST ? Math.max(0, Math.min(start - 20, end - WIDEST + 20)) : 0;
  const to = Math.min(text.length, Math.max(from + WIDEST, end));
  return {
    before: visible((from > 0 ? '…' : '') + text.slice(from, start)),
    fault: visible(text.slice(start, end)),
    after: visible(text.slice(end, to) + (to < text.length ? '…' : '')),
  };
}

/**
 * Returns the text without control characters, which must not reach the terminal. A tab becomes one
 * space, so that columns agree with `range`.
 */
const visible = (text: string): string =>
  text.replace(/\t/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');
