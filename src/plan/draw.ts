/** The DAG as text that other programs draw: Mermaid and Graphviz. Pure; time and length are linear in stages and arrows. */

export interface DrawnStage {
  readonly id: string;
  /** May hold a spec's own text: it is quoted, never syntax. */
  readonly label: string;
  readonly state: 'cached' | 'ready' | 'pending';
  /** Ids of the stages it reads. */
  readonly inputs: readonly string[];
}

const COLOURS: {
  readonly [State in DrawnStage['state']]: { readonly fill: string; readonly line: string };
} = {
  cached: { fill: '#d9ead3', line: '#38761d' },
  ready: { fill: '#fff2cc', line: '#bf9000' },
  pending: { fill: '#eeeeee', line: '#777777' },
};
const STATES = Object.keys(COLOURS) as DrawnStage['state'][];

/** A line break or control character in a value would end the statement that quotes it. */
const oneLine = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');

/** Arrows by the stages' places; two inputs that are one stage are one arrow. */
function arrows(stages: readonly DrawnStage[]): (readonly [from: number, to: number])[] {
  const places = new Map(stages.map(({ id }, place) => [id, place]));
  return stages.flatMap(({ id, inputs }, to) =>
    [...new Set(inputs)].map((input): readonly [number, number] => {
      const from = places.get(input);
      if (from === undefined) throw new Error(`${id} reads ${input}, which is not drawn`);
      return [from, to];
    }),
  );
}

/**
 * A Mermaid flowchart. Nodes are numbered, because an id may be a word of Mermaid's own (`end`).
 * Source of the syntax: mermaid.js.org/syntax/flowchart.html, "Special characters that break syntax" (entity codes).
 */
export function mermaid(stages: readonly DrawnStage[]): string {
  const quote = (text: string): string =>
    `"${oneLine(text).replace(/[^\p{L}\p{N} =.,:()/_+-]/gu, (character) => `#${character.codePointAt(0)!};`)}"`;
  return [
    'flowchart LR',
    ...stages.map(
      ({ label, state }, place) => `  s${place}[${quote(`${label} · ${state}`)}]:::${state}`,
    ),
    ...arrows(stages).map(([from, to]) => `  s${from} --> s${to}`),
    ...STATES.map(
      (state) =>
        `  classDef ${state} fill:${COLOURS[state].fill},stroke:${COLOURS[state].line},color:#000000`,
    ),
    '',
  ].join('\n');
}

/** A Graphviz digraph. Within quotes, DOT gives meaning to `"` and, in labels, to `\`. Source: graphviz.org/doc/info/lang.html and attrtype escString. */
export function dot(name: string, stages: readonly DrawnStage[]): string {
  const quote = (text: string): string =>
    `"${oneLine(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  const ids = stages.map(({ id }) => quote(id));
  return [
    `digraph ${quote(name)} {`,
    '  rankdir=LR; node [shape=box, style="rounded,filled", fontname="sans-serif"];',
    ...stages.map(
      ({ label, state }, place) =>
        `  ${ids[place]!} [label=${quote(`${label} (${state})`)}, fillcolor="${COLOURS[state].fill}", color="${COLOURS[state].line}"];`,
    ),
    ...arrows(stages).map(([from, to]) => `  ${ids[from]!} -> ${ids[to]!};`),
    '}',
    '',
  ].join('\n');
}
