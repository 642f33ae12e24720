/** Parses YAML into a tree with positions, and reports syntax errors at their place. */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node as YamlNode,
  parseDocument,
  type YAMLError,
} from 'yaml';
import type { Report } from './faults.ts';
import {
  type Entry,
  type MapNode,
  merge,
  type Node,
  oneOrMany,
  type ScalarNode,
  type Source,
  type Span,
} from './node.ts';

/** The most aliases in a document. They multiply: a few lines can expand to billions of nodes. */
const MOST_ALIASES = 1000;

/** The span between two offsets of the parsed text. */
type SpanAt = (start: number, end: number) => Span;

/**
 * Returns the tree of a text; undefined if it is empty, or if it is not YAML, which is reported.
 * @param offset where `text` begins in the text of its source
 */
export function parseYaml(
  source: Source,
  report: Report,
  text = source.text,
  offset = 0,
): Node | undefined {
  const document = parseDocument(text, { prettyErrors: false, keepSourceTokens: true });
  /** Returns a span of at least one character. */
  const span: SpanAt = (start, end) => ({
    source,
    start: start + offset,
    end: Math.max(end, start + 1) + offset,
  });
  const broken = document.errors.filter((error) => error.code !== 'DUPLICATE_KEY');
  // After the first error the parser only guesses, and further errors would be noise.
  const first = broken[0] ?? document.warnings[0];
  if (first) reportSyntax(first, text, span, report);
  for (const error of document.errors)
    if (error.code === 'DUPLICATE_KEY') reportDuplicate(error, text, span, report);
  if (first || document.contents === null) return undefined;
  return new Converter(document, span, report).convert(document.contents, span(0, 1));
}

function reportSyntax(error: YAMLError, text: string, span: SpanAt, report: Report): void {
  // An error at the end of the file is placed at the last character of the text.
  const [from, end] = error.pos,
    start = Math.min(from, Math.max(text.trimEnd().length - 1, 0));
  const message = error.message.charAt(0).toLowerCase() + error.message.slice(1);
  const fault = (what: string, hint?: string, at = span(start, end)): void =>
    report('yaml-syntax', at, what, hint);
  switch (error.code as string) {
    case 'TAB_AS_INDENT':
      fault("a tab can't indent YAML", 'indent with spaces');
      return;
    case 'MULTIPLE_DOCS':
      fault(
        'a spec is one YAML document, but this begins a second one',
        'take out the line "---"',
        span(start, start + 3),
      );
      return;
    case 'TAG_RESOLVE_FAILED':
      fault(message, 'a value that begins with "!" needs quotes');
      return;
    case 'BLOCK_AS_IMPLICIT_KEY':
      fault(
        `not YAML: ${message}`,
        'a value with ": " in it needs quotes; a nested field goes on a line of its own, indented',
      );
      return;
    default: {
      const [, bracket, quote] =
        /^Flow (?:map|sequence) .*end with a (.)$|^Missing closing (.)quote$/.exec(error.message) ??
        [];
      const missing = bracket ?? quote;
      fault(`not YAML: ${missing === undefined ? message : `a closing ${missing} is missing`}`);
    }
  }
}

function reportDuplicate(error: YAMLError, text: string, span: SpanAt, report: Report): void {
  const [start] = error.pos;
  // The key as written: in quotes, or up to a colon, comma, brace or space.
  const key = /^(?:"[^"]*"|'[^']*'|[^:,}\s]+)/.exec(text.slice(start))?.[0] ?? '';
  report(
    'duplicate-key',
    span(start, start + key.length),
    `the key ${JSON.stringify(key.replace(/^["']|["']$/g, ''))} is given twice`,
    'keep one of the two',
  );
}

const textAt = ({ source, start, end }: Span): string => source.text.slice(start, end);

/** Returns a scalar that is null, for a node that has no value or whose fault was reported. */
const empty = (at: Span): ScalarNode => ({ kind: 'scalar', value: null, span: at });

class Converter {
  private aliases = 0;
  /** The nodes that enclose the current one. An alias of one of them would never end. */
  private readonly open = new Set<YamlNode>();

  constructor(
    private readonly document: Document,
    private readonly span: SpanAt,
    private readonly report: Report,
  ) {}

  /** Returns the tree of a YAML node. A node that has no place of its own gets `around`. */
  convert(node: unknown, around: Span): Node {
    const at = this.spanOf(node, around);
    if (isAlias(node)) return this.convertAlias(node, at);
    if (isScalar(node)) return this.convertScalar(node.value, at);
    if (!isSeq(node) && !isMap(node)) return empty(around);
    this.open.add(node);
    const converted: Node = isMap(node)
      ? this.convertMap(node.items, at)
      : { kind: 'list', items: node.items.map((item) => this.convert(item, at)), span: at };
    this.open.delete(node);
    return converted;
  }

  /**
   * Returns the tree that an alias stands for. Reports the alias and returns a null if there is no
   * such anchor, if the alias is within its own anchor, or if there are too many aliases.
   */
  private convertAlias(node: Alias, at: Span): Node {
    const target = node.resolve(this.document);
    if (target === undefined) {
      this.report(
        'unknown-alias',
        at,
        `there is no anchor "&${node.source}" before this`,
        `set it first: &${node.source}`,
      );
      return empty(at);
    }
    if (this.open.has(target)) {
      this.report('cycle', at, `"*${node.source}" contains itself`);
      return empty(at);
    }
    this.aliases++;
    if (this.aliases > MOST_ALIASES) {
      if (this.aliases === MOST_ALIASES + 1)
        this.report('too-many-aliases', at, `the document holds more than ${MOST_ALIASES} aliases`);
      return empty(at);
    }
    return this.convert(target, at);
  }

  /**
   * Returns the tree of a mapping. A key that is no single word is reported and left out. Of two
   * equal keys, the first counts.
   */
  private convertMap(
    pairs: readonly { readonly key: unknown; readonly value: unknown }[],
    at: Span,
  ): MapNode {
    const entries = new Map<string, Entry>();
    let inherited: MapNode | undefined;
    for (const { key, value } of pairs) {
      const keyAt = this.spanOf(key, at);
      if (!isScalar(key) || key.value === null) {
        this.report('bad-key', keyAt, 'a key must be a single word or text');
        continue;
      }
      // A key that is a number, as in `{ 0: 1 }`, becomes the text as written.
      const name = typeof key.value === 'string' ? key.value : textAt(keyAt);
      const written = this.convert(value, keyAt);
      // This is YAML 1.1's merge key. The entries of the map itself take precedence.
      if (name === '<<')
        for (const base of oneOrMany(written)) {
          if (base.kind === 'map') inherited = inherited ? merge(base, inherited) : base;
          else this.report('wrong-type', keyAt, '"<<" must name a mapping');
        }
      else if (!entries.has(name)) entries.set(name, { key: keyAt, value: written });
    }
    for (const [key, entry] of inherited?.entries ?? [])
      if (!entries.has(key)) entries.set(key, entry);
    return { kind: 'map', entries, span: at };
  }

  /**
   * Returns a scalar. One that is no text, number or boolean becomes null. Reports a whole number
   * that is too large to be exact.
   */
  private convertScalar(value: unknown, at: Span): ScalarNode {
    if (
      typeof value === 'number' &&
      Number.isInteger(value) &&
      !Number.isSafeInteger(value) &&
      /^[-+]?\d+$/.test(textAt(at))
    )
      this.report(
        'number-too-large',
        at,
        `${textAt(at)} is too large to be kept exactly`,
        'whole numbers go up to 9007199254740991',
      );
    const isKnown =
      typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
    return { kind: 'scalar', value: isKnown ? value : null, span: at };
  }

  /** Returns the place of a YAML node; `otherwise` if it has none. */
  private spanOf(node: unknown, otherwise: Span): Span {
    const range = isScalar(node) || isAlias(node) || isMap(node) || isSeq(node) ? node.range : null;
    return range ? this.span(range[0], range[1]) : otherwise;
  }
}
