import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dot, type DrawnStage, mermaid } from '../../src/plan/draw.ts';

const test = suite('plan drawn');
const stages: readonly DrawnStage[] = [
  { id: 'data-1', label: 'data(train)', state: 'cached', inputs: [] },
  {
    id: 'end',
    label: 'train trigger="]; x\\n#1`\nend',
    state: 'ready',
    inputs: ['data-1', 'data-1'],
  },
  { id: 'report-2', label: 'report <b>&', state: 'pending', inputs: ['end', 'data-1'] },
];

test('Mermaid: nodes are numbered, states are classes, and labels are escaped', () => {
  assert.is(
    mermaid(stages),
    `flowchart LR
  s0["data(train) #183; cached"]:::cached
  s1["train trigger=#34;#93;#59; x#92;n#35;1#96; end #183; ready"]:::ready
  s2["report #60;b#62;#38; #183; pending"]:::pending
  s0 --> s1
  s1 --> s2
  s0 --> s2
  classDef cached fill:#d9ead3,stroke:#38761d,color:#000000
  classDef ready fill:#fff2cc,stroke:#bf9000,color:#000000
  classDef pending fill:#eeeeee,stroke:#777777,color:#000000
`,
  );
});

test('DOT: quotes and backslashes are escaped, and line breaks are removed', () => {
  assert.is(
    dot('a "b"', stages),
    `digraph "a \\"b\\"" {
  rankdir=LR; node [shape=box, style="rounded,filled", fontname="sans-serif"];
  "data-1" [label="data(train) (cached)", fillcolor="#d9ead3", color="#38761d"];
  "end" [label="train trigger=\\"]; x\\\\n#1\` end (ready)", fillcolor="#fff2cc", color="#bf9000"];
  "report-2" [label="report <b>& (pending)", fillcolor="#eeeeee", color="#777777"];
  "data-1" -> "end";
  "end" -> "report-2";
  "data-1" -> "report-2";
}
`,
  );
});

test('a drawing has one line for each stage and each arrow', () => {
  const grid = (n: number): DrawnStage[] => [
    ...Array.from({ length: n }, (_, i): DrawnStage => ({
      id: `evaluate-${i}`,
      label: `evaluate rank=${i}`,
      state: 'ready',
      inputs: [],
    })),
    {
      id: 'report',
      label: 'report',
      state: 'pending',
      inputs: Array.from({ length: n }, (_, i) => `evaluate-${i}`),
    },
  ];
  const lines = (text: string): number => text.split('\n').length;
  for (const draw of [mermaid, (of: readonly DrawnStage[]) => dot('grid', of)])
    assert.is(lines(draw(grid(20_000))) - lines(draw(grid(10_000))), 20_000);
});

test.run();
