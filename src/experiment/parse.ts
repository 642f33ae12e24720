/** YAML text → tree. Positions are kept, anchors and merge keys resolved, and syntax faults reported with their place. */
import type { Document, Node as YamlNode, YAMLError } from 'yaml';
import { isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Report } from './faults.ts';
import { merge } from './merge.ts';
import type { Entry, MapNode, Node, ScalarNode, Source, Span } from './node.ts';

/** Aliases of aliases multiply: a few lines can stand for billions of nodes. */
const MOST_ALIASES = 1000;

/** The tree, or undefined where the text is empty or is no YAML. `offset`: where `text` begins in its source. */
export function parseYaml(
  source: Source,
  report: Report,
  text = source.text,
  offset = 0,
): Node | undefined {
  const document = parseDocument(text, { prettyErrors: false, keepSourceTokens: true });
  const span = (start: number, end: number): Span => ({
    source,
    start: start + offset,
    end: Math.max(end, start + 1) + offset,
  });
  const broken = document.errors.filter((error) => error.code !== 'DUPLICATE_KEY');
  const first = broken[0] ?? document.warnings[0];
  // After the first broken place YAML only guesses: what follows would be noise.
  if (first) reportSyntax(first, text, span, report);
  for (const error of document.errors)
    if (error.code === 'DUPLICATE_KEY') reportDuplicate(error, text, span, report);
  if (first || document.contents === null) return undefined;
  return convert(document.contents, document, span, report);
}

function reportSyntax(
  error: YAMLError,
  text: string,
  span: (start: number, end: number) => Span,
  report: Report,
): void {
  // What is missing is missed at the end of the file: point at the last thing that is there.
  const [from, to] = error.pos,
    start = Math.min(from, Math.max(text.trimEnd().length - 1, 0)),
    end = Math.max(to, start + 1);
  const message = error.message[0]!.toLowerCase() + error.message.slice(1);
  const missing = /^Flow (?:map|sequence) .*end with a (.)$|^Missing closing (.)quote$/.exec(
    error.message,
  );
  switch (error.code) {
    case 'TAB_AS_INDENT':
      return void report(
        'yaml-syntax',
        span(start, end),
        "a tab can't indent YAML",
        'indent with spaces',
      );
    case 'MULTIPLE_DOCS':
      return void report(
        'yaml-syntax',
        span(start, start + 3),
        'a spec is one YAML document, but this begins a second one',
        'take out the line "---"',
      );
    case 'TAG_RESOLVE_FAILED':
      return void report(
        'yaml-syntax',
        span(start, end),
        message,
        'a value that begins with "!" needs quotes',
      );
    case 'BLOCK_AS_IMPLICIT_KEY':
      return void report(
        'yaml-syntax',
        span(start, end),
        `not YAML: ${message}`,
        'a value with ": " in it needs quotes; a nested field goes on a line of its own, indented',
      );
    default:
      return void report(
        'yaml-syntax',
        span(start, end),
        missing
          ? `not YAML: a closing ${missing[1] ?? missing[2]!} is missing`
          : `not YAML: ${message}`,
      );
  }
}

function reportDuplicate(
  error: YAMLError,
  text: string,
  span: (start: number, end: number) => Span,
  report: Report,
): void {
  const [start] = error.pos;
  const key = /^(?:"[^"]*"|'[^']*'|[^:,}\s]+)/.exec(text.slice(start))?.[0] ?? '';
  report(
    'duplicate-key',
    span(start, start + key.length),
    `the key ${JSON.stringify(key.replace(/^["']|["']$/g, ''))} is given twice`,
    'keep one of the two',
  );
}

function convert(
  root: YamlNode,
  document: Document,
  span: (start: number, end: number) => Span,
  report: Report,
): Node {
  let aliases = 0;
  const open = new Set<YamlNode>(); // the nodes that enclose the present one: an alias to one of them has no end
  const empty = (at: Span): ScalarNode => ({
    kind: 'scalar',
    value: null,
    quoted: false,
    span: at,
  });

  const visit = (node: unknown, place: Span): Node => {
    if (isAlias(node)) {
      const at = spanOf(node, place),
        target = node.resolve(document);
      if (target === undefined) {
        report(
          'unknown-alias',
          at,
          `there is no anchor "&${node.source}" before this`,
          `set it first: &${node.source}`,
        );
        return empty(at);
      }
      if (open.has(target)) {
        report('cycle', at, `"*${node.source}" holds itself`);
        return empty(at);
      }
      if (++aliases > MOST_ALIASES) {
        if (aliases === MOST_ALIASES + 1)
          report('too-many-aliases', at, `the document holds more than ${MOST_ALIASES} aliases`);
        return empty(at);
      }
      return visit(target, place);
    }
    if (isScalar(node))
      return scalar(
        node.value,
        node.type?.startsWith('QUOTE') === true || node.type?.startsWith('BLOCK') === true,
        spanOf(node, place),
      );
    if (isSeq(node)) {
      open.add(node);
      const at = spanOf(node, place);
      const items = node.items.map((item) => visit(item, at));
      open.delete(node);
      return { kind: 'list', items, span: at };
    }
    if (isMap(node)) {
      open.add(node);
      const map = visitMap(node.items, spanOf(node, place));
      open.delete(node);
      return map;
    }
    return empty(place);
  };

  const visitMap = (
    pairs: readonly { readonly key: unknown; readonly value: unknown }[],
    at: Span,
  ): MapNode => {
    const entries = new Map<string, Entry>();
    let inherited: MapNode | undefined;
    for (const { key, value } of pairs) {
      const keyAt = spanOf(key, at);
      if (!isScalar(key) || key.value === null) {
        report('bad-key', keyAt, 'a key must be a single word or text');
        continue;
      }
      // `{ 0: 1 }`: a number as a key is the text it is written as.
      const name =
        typeof key.value === 'string' ? key.value : keyAt.source.text.slice(keyAt.start, keyAt.end);
      const written = visit(value, keyAt);
      if (name === '<<') {
        // YAML 1.1's merge key: what the map itself says wins
        for (const base of written.kind === 'list' ? written.items : [written]) {
          if (base.kind === 'map') inherited = inherited ? merge(base, inherited) : base;
          else report('wrong-type', keyAt, '"<<" must name a mapping');
        }
        continue;
      }
      if (!entries.has(name)) entries.set(name, { key: keyAt, value: written });
    }
    if (inherited)
      for (const [key, entry] of inherited.entries) if (!entries.has(key)) entries.set(key, entry);
    return { kind: 'map', entries, span: at };
  };

  const scalar = (value: unknown, quoted: boolean, at: Span): ScalarNode => {
    if (
      typeof value === 'number' &&
      Number.isInteger(value) &&
      !Number.isSafeInteger(value) &&
      /^[-+]?\d+$/.test(at.source.text.slice(at.start, at.end))
    ) {
      report(
        'number-too-large',
        at,
        `${at.source.text.slice(at.start, at.end)} is too large to be kept exactly`,
        'whole numbers go up to 9007199254740991',
      );
    }
    const known =
      typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
    return { kind: 'scalar', value: known ? value : null, quoted, span: at };
  };

  const spanOf = (node: unknown, otherwise: Span): Span => {
    const range = isScalar(node) || isAlias(node) || isMap(node) || isSeq(node) ? node.range : null;
    return range ? span(range[0], range[1]) : otherwise;
  };

  return visit(root, span(0, 1));
}
