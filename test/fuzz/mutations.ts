/**
 * Valid inputs, damaged and hostile: a list of mutations, drawn and shrunk by fast-check, applied
 * to a seed.
 */
import fc from 'fast-check';

export interface Mutation {
  readonly op: number;
  readonly at: number;
  readonly size: number;
}

/** Inputs are at most this long: larger ones are tested by hand, against each bound. */
const LONGEST = 1 << 16;

const HOSTILE: readonly string[] = [
  'null',
  'true',
  '-1',
  '0',
  '1e999',
  '-1e999',
  '1e9',
  '9007199254740993',
  '4294967296',
  '0.1',
  '""',
  '"\\u0000"',
  '"../../escaped"',
  '"/tmp/escaped"',
  '"__proto__"',
  '"constructor"',
  '[]',
  '{}',
  '[[]]',
  '{"a":{"a":{}}}',
  '"\\ud800"',
  '"(a+)+$"',
  '"(.*)*x"',
  '[1e9]',
  '[null]',
  '"..\\\\.."',
  '"' + 'x'.repeat(300) + '"',
  '['.repeat(200),
  '{"a":'.repeat(150),
];
const TOKENS: readonly string[] = [
  ...HOSTILE,
  '\0',
  '\r\n',
  '\n',
  '\t',
  ',',
  '"',
  "'",
  '<',
  '>',
  '&',
  '\\',
  '/',
  '../',
  '${env.X}',
  '*a',
  '&a ',
  '!!js/function ',
  '---\n',
  '- ',
  ': ',
  '{',
  '}',
  '[',
  ']',
  '=',
  '%',
  '\ufeff',
  'Content-Type: multipart/mixed; boundary=a\n',
  '--a\n',
  'Content-Transfer-Encoding: base64\n',
  '=?utf-8?B?',
  '<table>',
  '<a href="',
  '\u2028',
  '\u{20000}',
];

const encoder = new TextEncoder(),
  decoder = new TextDecoder();
const pick = <T>(list: readonly T[], index: number): T => list[index % list.length]!;

function spliced(bytes: Uint8Array, start: number, end: number, middle: Uint8Array): Uint8Array {
  const out = new Uint8Array(start + middle.length + bytes.length - end);
  out.set(bytes.subarray(0, start));
  out.set(middle, start);
  out.set(bytes.subarray(end), start + middle.length);
  return out;
}

/** Replaces or removes one value somewhere in a JSON text, or repeats it under another name. */
function inJson(text: string, { at, size }: Mutation): string | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const places: { readonly holder: { [key: string]: unknown }; readonly key: string }[] = [];
  const walk = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    for (const key of Object.keys(node)) {
      places.push({ holder: node as { [key: string]: unknown }, key });
      walk((node as { [key: string]: unknown })[key]);
    }
  };
  walk(value);
  if (places.length === 0) return pick(HOSTILE, size);
  const { holder, key } = pick(places, at);
  const marker = 'HOSTILE-VALUE';
  if (size % 7 === 0) Reflect.deleteProperty(holder, key);
  else if (size % 7 === 1)
    holder[pick(['__proto__x', '', '../x', 'toString', 'type', 'id'], at)] = holder[key];
  else holder[key] = marker;
  return JSON.stringify(value).replace(`"${marker}"`, () => pick(HOSTILE, size));
}

/** Mutates as text: JSON lines, and YAML or CSV with numbers. */
function inText(text: string, { at, size }: Mutation): string {
  const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
  if (numbers.length === 0) return text + pick(TOKENS, size);
  const { 0: found, index } = pick(numbers, at);
  return text.slice(0, index) + pick(HOSTILE, size) + text.slice(index + found.length);
}

export function mutate(
  input: Uint8Array,
  mutation: Mutation,
  others: readonly Uint8Array[],
): Uint8Array {
  const { op, at, size } = mutation;
  const n = input.length,
    start = n === 0 ? 0 : at % n,
    end = Math.min(n, start + 1 + (size % 64));
  switch (op) {
    case 0: {
      const out = Uint8Array.from(input);
      if (n > 0) out[start]! ^= 1 << (size % 8);
      return out;
    }
    case 1: {
      const out = Uint8Array.from(input);
      if (n > 0) out[start] = pick([0, 1, 127, 128, 255], size);
      return out;
    }
    case 2:
      return spliced(input, start, end, new Uint8Array());
    case 3:
      return spliced(input, start, start, input.subarray(start, end));
    case 4:
      return input.subarray(0, start);
    case 5:
      return spliced(input, start, start, encoder.encode(pick(TOKENS, size)));
    case 6:
      return spliced(input, start, end, encoder.encode(pick(TOKENS, size)));
    case 7: {
      const other = pick(others, size),
        from = other.length === 0 ? 0 : at % other.length;
      return spliced(input, start, n, other.subarray(from));
    }
    case 8: {
      const part = input.subarray(start, end);
      const times = Math.min(1 + (size % 2000), Math.floor(LONGEST / Math.max(1, part.length)));
      const out = new Uint8Array(part.length * times);
      for (let i = 0; i < times; i++) out.set(part, i * part.length);
      return spliced(input, start, end, out);
    }
    case 9: {
      const out = Uint8Array.from(input);
      for (let i = 0; i < 4 && start + i < n; i++)
        out[start + i] = pick([0, 255, 127, 128], size + (i >> 1));
      return out;
    }
    case 10:
      return encoder.encode(inText(decoder.decode(input), mutation));
    default: {
      const text = inJson(decoder.decode(input), mutation);
      return text === null
        ? encoder.encode(inText(decoder.decode(input), mutation))
        : encoder.encode(text);
    }
  }
}

export interface Drawn {
  readonly seed: number;
  readonly mutations: readonly Mutation[];
}

export const drawn: fc.Arbitrary<Drawn> = fc.record({
  seed: fc.nat(1 << 16),
  mutations: fc.array(fc.record({ op: fc.nat(13), at: fc.nat(2 ** 30), size: fc.nat(1 << 16) }), {
    maxLength: 4,
  }),
});

/** Returns the drawn input. @param seeds valid inputs */
export function inputOf({ seed, mutations }: Drawn, seeds: readonly Uint8Array[]): Uint8Array {
  let input = pick(seeds, seed);
  for (const mutation of mutations) input = mutate(input, mutation, seeds).subarray(0, LONGEST);
  return input;
}
