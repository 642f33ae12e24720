/** How diagnostics look on a terminal. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { printDiagnostics } from '../../src/spec/print.ts';
import type { Diagnostic, SourceRange } from '../../src/spec/types.ts';

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
  assert.is(lines[3], `7 | …${'x'.repeat(92)}, FAULT, ${'y'.repeat(17)}…`);
  assert.is(lines[4], `  | ${' '.repeat(95)}^^^^^`);
});

test('in a narrow terminal no line of source wraps, so that the squiggle stays below', () => {
  const long = `${'x'.repeat(60)}, FAULT, ${'y'.repeat(60)}`;
  for (const [text, wrong, shown, squiggle] of [
    [long, 'FAULT', `…${'x'.repeat(8)}, FAULT, ${'y'.repeat(17)}…`, `${' '.repeat(11)}^^^^^`],
    ['train: { stps: 1 }', 'stps', 'train: { stps: 1 }', `${' '.repeat(9)}^^^^`],
    [`${'x'.repeat(33)}: 1`, '1', `${'x'.repeat(33)}: 1`, `${' '.repeat(35)}^`],
    ['z'.repeat(50), 'z'.repeat(50), `${'z'.repeat(35)}…`, '^'.repeat(36)],
    [`a: "${'文'.repeat(30)}", b: 1`, 'b', `…${'文'.repeat(14)}", b: 1`, `${' '.repeat(32)}^`],
  ] as const) {
    const lines = printDiagnostics([fault(at(text, wrong))], { ...plain, width: 40 }).split('\n');
    assert.equal(lines.slice(3, 5), [`7 | ${shown}`, `  | ${squiggle}`]);
  }
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

test('wide characters take two columns', () => {
  assert.is(
    printDiagnostics([fault(at('"😀😀": b', 'b'))], plain)
      .split('\n')
      .slice(3, 5)
      .join('\n'),
    '7 | "😀😀": b\n  |         ^',
  );
});

test('colours change nothing but the escape sequences', () => {
  const diagnostics = [fault(at('train: { stps: 1 }', 'stps'), 'a way out')];
  const painted = printDiagnostics(diagnostics, { color: true });
  assert.ok(painted.includes('\u001b['));
  assert.is(painted.replace(/\u001b\[\d+m/g, ''), printDiagnostics(diagnostics, plain));
});

test.run();
