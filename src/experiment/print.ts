/** Diagnostics as a terminal shows them. */
import { createColors } from 'picocolors';
import type { Diagnostic, SourceRange } from './types.ts';

/** Longer lines are cut to a window around the fault. */
const WIDEST = 120;

/**
 *     error[unknown-key]: unknown key "batchsize" in "train"
 *       --> spec.yaml:12:3
 *        |
 *     12 |   batchsize: 8
 *        |   ^^^^^^^^^
 *        = did you mean "batch_size"?
 *
 * Blank lines between them and a count at the end. Text from files is shown without its control characters.
 */
export function printDiagnostics(
  diagnostics: readonly Diagnostic[],
  { color }: { readonly color: boolean },
): string {
  if (diagnostics.length === 0) return '';
  const paint = createColors(color);
  const blocks = diagnostics.map(({ code, message, range, hint }) => {
    const title = `${paint.red(paint.bold(`error[${code}]`))}${paint.bold(`: ${visible(message)}`)}`;
    const margin = ' '.repeat(range ? String(range.line).length : 1);
    const help = hint === undefined ? [] : [`${margin} ${paint.blue('=')} ${visible(hint)}`];
    if (!range) return [title, ...help].join('\n');
    const { before, fault, after } = excerpt(range);
    const width = [...before].length;
    return [
      title,
      `${margin}${paint.blue('-->')} ${visible(range.file)}:${range.line}:${range.column}`,
      `${margin} ${paint.blue('|')}`,
      `${paint.blue(`${range.line} |`)} ${before}${fault}${after}`.trimEnd(),
      `${margin} ${paint.blue('|')} ${' '.repeat(width)}${paint.red('^'.repeat(Math.max([...fault].length, 1)))}`,
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

/** A file's escape sequences are not for the reader's terminal; a tab takes one column, as in `range`. */
const visible = (text: string): string =>
  text.replace(/\t/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f]/g, '�');
