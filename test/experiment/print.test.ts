/** How diagnostics look on a terminal. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { printDiagnostics } from '../../src/experiment/print.ts';
import type { Diagnostic, SourceRange } from '../../src/experiment/types.ts';

const test = suite('print');
const plain = { color: false };
const at = (text: string, fault: string, line = 7): SourceRange => {
  const column = text.indexOf(fault) + 1;
  return { file: 'spec.yaml', line, column, endColumn: column + fault.length, text };
};
const fault = (range: SourceRange | null, hint?: string): Diagnostic => ({
  code: 'some-code',
  message: 'what is wrong',
  range,
  ...(hint === undefined ? {} : { hint }),
});

test('no diagnostics print nothing', () => assert.is(printDiagnostics([], plain), ''));

test('a diagnostic shows its place, its line, a squiggle and a hint; a count ends the list', () => {
  assert.is(
    printDiagnostics(
      [fault(at('train: { stps: 1 }', 'stps'), 'a way out'), fault(null, 'another')],
      plain,
    ),
    `error[some-code]: what is wrong
 --> spec.yaml:7:10
  |
7 | train: { stps: 1 }
  |          ^^^^
  = a way out

error[some-code]: what is wrong
  = another

2 errors
`,
  );
});

test('the margin is as wide as the line number', () => {
  assert.is(
    printDiagnostics([fault(at('  a: b', 'b', 1234))], plain),
    `error[some-code]: what is wrong
    --> spec.yaml:1234:6
     |
1234 |   a: b
     |      ^

1 error
`,
  );
});

test('a long line is cut to a window around the fault', () => {
  const lines = printDiagnostics(
    [fault(at(`${'x'.repeat(300)}, FAULT, ${'y'.repeat(300)}`, 'FAULT'))],
    plain,
  ).split('\n');
  assert.is(lines[3], `7 | …${'x'.repeat(93)}, FAULT, ${'y'.repeat(18)}…`);
  assert.is(lines[4], `  | ${' '.repeat(96)}^^^^^`);
});

test("a tab takes one column, and a file's control characters are replaced", () => {
  assert.is(
    printDiagnostics([fault(at('\ta: \u001b[31mb', 'b'))], plain)
      .split('\n')
      .slice(3, 5)
      .join('\n'),
    '7 |  a: �[31mb\n  |          ^',
  );
});

test('characters outside the basic plane take one column', () => {
  assert.is(
    printDiagnostics([fault(at('"😀😀": b', 'b'))], plain)
      .split('\n')
      .slice(3, 5)
      .join('\n'),
    '7 | "😀😀": b\n  |       ^',
  );
});

test('colours change nothing but the escape sequences', () => {
  const diagnostics = [fault(at('train: { stps: 1 }', 'stps'), 'a way out')];
  const painted = printDiagnostics(diagnostics, { color: true });
  assert.ok(painted.includes('\u001b['));
  assert.is(painted.replace(/\u001b\[\d+m/g, ''), printDiagnostics(diagnostics, plain));
});

test.run();
