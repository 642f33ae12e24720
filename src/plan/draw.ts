/**
 * Draws the graph of a plan's stages as Mermaid or Graphviz text. Pure; linear in the numbers of
 * stages and arrows.
 */

import { named } from '../base/lookup.ts';

export interface DrawnStage {
  readonly id: string;
  /** May contain text from a spec. A drawing quotes it, so that it is never read as syntax. */
  readonly label: string;
  readonly state: 'cached' | 'ready' | 'pending';
  /** The ids of the stages that this stage reads. */
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

/**
 * Returns the text with a space in place of line breaks and control characters, since a line break
 * would end a statement.
 */
const oneLine = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');

/**
 * Returns the arrows, one from each stage to each stage that reads it. Both ends are names as
 * `nameOf` returns them.
 */
const arrows = (
  stages: readonly DrawnStage[],
  nameOf: (stage: DrawnStage, position: number) => string,
): (readonly [from: string, to: string])[] => {
  const names = new Map(stages.map((stage, position) => [stage.id, nameOf(stage, position)]));
  return stages.flatMap(({ id, inputs }) =>
    [...new Set(inputs)].map((input) => [named(names, input), named(names, id)] as const),
  );
};

/**
 * Returns a Mermaid flowchart. Its nodes are called `s0`, `s1`, …, since a stage's id may be a word
 * of Mermaid's syntax (`end`). Source of the syntax: mermaid.js.org/syntax/flowchart.html, "Special
 * characters that break syntax" (entity codes).
 */
export function mermaid(stages: readonly DrawnStage[]): string {
  const entity = (character: string): string => `#${character.codePointAt(0) ?? 0};`;
  const quote = (text: string): string =>
    `"${oneLine(text).replace(/[^\p{L}\p{N} =.,:()/_+-]/gu, entity)}"`;
  return [
    'flowchart LR',
    ...stages.map(
      ({ label, state }, position) => `  s${position}[${quote(`${label} · ${state}`)}]:::${state}`,
    ),
    ...arrows(stages, (_, position) => `s${position}`).map(([from, to]) => `  ${from} --> ${to}`),
    ...STATES.map(
      (state) =>
        `  classDef ${state} fill:${COLOURS[state].fill},` +
        `stroke:${COLOURS[state].line},color:#000000`,
    ),
    '',
  ].join('\n');
}

/**
 * Returns a Graphviz digraph. Within quotes, DOT gives a meaning to `"` and, in labels, to `\`, so
 * both are escaped. Source: graphviz.org/doc/info/lang.html and the attribute type escString.
 * @param name the digraph's name
 */
export function dot(name: string, stages: readonly DrawnStage[]): string {
  const quote = (text: string): string =>
    `"${oneLine(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  /** Returns the name of a node of the drawing: the id of its stage, in quotes. */
  const quotedId = ({ id }: DrawnStage): string => quote(id);
  return [
    `digraph ${quote(name)} {`,
    '  rankdir=LR; node [shape=box, style="rounded,filled", fontname="sans-serif"];',
    ...stages.map((stage) => {
      const { fill, line } = COLOURS[stage.state];
      const label = quote(`${stage.label} (${stage.state})`);
      return `  ${quotedId(stage)} [label=${label}, fillcolor="${fill}", color="${line}"];`;
    }),
    ...arrows(stages, quotedId).map(([from, to]) => `  ${from} -> ${to};`),
    '}',
    '',
  ].join('\n');
}
