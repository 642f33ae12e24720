/** Numbers, intervals and durations in readable form. */
import prettyMilliseconds from 'pretty-ms';
import type { Json } from '../api.ts';
import { ROUNDING } from '../base/rounding.ts';
import type { Summary } from '../base/stats.ts';

/** Proportions are shown to three decimals, everything else to four significant digits. */
export type NumberKind = 'proportion' | 'plain';

/** Returns the code points of a text: a cut between two of them cuts no character in half. */
export const codePoints = (text: string): string[] => Array.from(text);

/** Writes a number with this many decimals; one that rounds to 0 has no sign. */
export const fixed = (value: number, decimals: number): string =>
  value.toFixed(decimals).replace(/^-(?=0(?:\.0*)?$)/, '');

/**
 * Writes a proportion with this many decimals. One that would be written as 0 or as 1 but is
 * neither is `<0.001` or `>0.999`.
 */
export function shareText(value: number, decimals = 3): string {
  const text = fixed(value, decimals),
    unit = 10 ** -decimals;
  if (Number(text) === 0 && value > ROUNDING) return `<${fixed(unit, decimals)}`;
  return Number(text) === 1 && value < 1 - ROUNDING ? `>${fixed(1 - unit, decimals)}` : text;
}

const MINUS = '−';
export const withMinusSign = (text: string): string => text.replaceAll('-', MINUS);

/**
 * Writes a number: `0.0123`, `8.68·10⁻⁴`, as a proportion `0.012`; `–` for null or undefined.
 * @param more how many digits to write beyond the usual ones
 */
export function formatNumber(
  value: number | null | undefined,
  kind: NumberKind = 'plain',
  more = 0,
): string {
  if (value === null || value === undefined) return '–';
  if (Number.isNaN(value)) return 'not a number';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : `${MINUS}∞`;
  if (kind === 'proportion') return withMinusSign(shareText(value, 3 + more));
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return withMinusSign(String(value));
  if (size >= 1e6 || size < 1e-3) return scientific(value, more);
  return withMinusSign(size >= 1000 ? fixed(value, more) : value.toPrecision(4 + more));
}

/** Writes a number as `8.68·10⁻⁴`, or as `10⁻⁶` if the mantissa rounds to 1. */
function scientific(value: number, more: number): string {
  const [mantissa = '', exponent = ''] = value.toExponential(2 + more).split('e');
  const power = `10${superscript(exponent)}`;
  return Number(mantissa) === 1 ? power : `${withMinusSign(mantissa)}·${power}`;
}

/** Writes an exponent, such as `-4` or `+12`, in superscript: `⁻⁴`, `¹²`. */
const superscript = (exponent: string): string =>
  exponent
    .replace('+', '')
    .replace('-', '⁻')
    .replaceAll(/\d/g, (digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'.charAt(Number(digit)));

/** Writes a difference with its sign, `+0.020`, unless it is written as 0. `more`: as above. */
export function formatSigned(value: number, kind: NumberKind = 'plain', more = 0): string {
  const text =
    kind === 'proportion' ? withMinusSign(fixed(value, 3 + more)) : formatNumber(value, kind, more);
  return value > 0 && !/^0(\.0*)?$/.test(text) ? `+${text}` : text;
}

/**
 * Returns the two values that a summary of two seeds was made of, the smaller first; [] for any
 * other number of seeds. Tables show them instead of the t interval, whose width is 12.7 times the
 * distance between the values. Removes rounding errors, with which 4 would be written as 4.000, and
 * 0 as 1.11·10⁻¹⁶.
 */
export function bothValues({ n, mean, std }: Summary): readonly number[] {
  if (n !== 2 || std === null) return [];
  const half = std / Math.SQRT2,
    least = ROUNDING * (Math.abs(mean) + half);
  return [mean - half, mean + half].map((value) =>
    Math.abs(value) < least ? 0 : Number(value.toPrecision(12)),
  );
}

/**
 * Returns how many digits beyond the usual ones tell two numbers apart, if neither is written as
 * `>0.999` or `<0.001`; 0 if no number of digits does.
 * @param write writes a number with so many digits more
 */
export function digitsToTell(
  low: number,
  high: number,
  write: (value: number, more: number) => string,
): number {
  for (let more = 0; more < 12; more++) {
    // 4 and 4.000 are no two values.
    const texts = [low, high].map((x) => write(x, more).replace(/\.0+$|(\.\d*[1-9])0+$/, '$1'));
    if (texts[0] !== texts[1] && !/[<>]/.test(texts.join(''))) return more;
  }
  return 0;
}

/**
 * Returns a function that writes a difference with its sign. If the difference is no proportion,
 * and the half width of the interval is within (10⁻⁹, 10⁶), it has as many decimals as the half
 * width has at two significant digits, but at most 8. Otherwise `formatSigned` writes it.
 */
function differenceWriter(
  { low, high }: Pick<Summary, 'low' | 'high'>,
  kind: NumberKind,
): (value: number) => string {
  const half = low === null || high === null ? 0 : (high - low) / 2;
  if (kind === 'proportion' || !(half > 1e-9) || half >= 1e6)
    return (value) => formatSigned(value, kind);
  const decimals = Math.max(0, Math.min(8, 1 - Math.floor(Math.log10(half))));
  return (value) => {
    const text = withMinusSign(fixed(value, decimals));
    return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
  };
}

/** Writes a mean difference with its sign, `+0.020`, to as many digits as its interval supports. */
export const formatMean = (
  summary: Pick<Summary, 'mean' | 'low' | 'high'>,
  kind: NumberKind = 'plain',
): string => differenceWriter(summary, kind)(summary.mean);

/**
 * Writes an interval, `[−0.130, +0.170]`, or the values themselves if there are only two, `(−0.010,
 * +0.050)`. Otherwise says why there is no interval: there is one value, or all are equal, so that
 * their spread is unknown.
 */
export function formatInterval(summary: Summary, kind: NumberKind = 'plain'): string {
  if (summary.low === null || summary.high === null) return `no interval (n = ${summary.n})`;
  if (summary.low === summary.high) return 'all equal';
  const [first, second] = bothValues(summary);
  if (first !== undefined && second !== undefined) {
    const more = digitsToTell(first, second, (value, more) => formatSigned(value, kind, more));
    return `(${formatSigned(first, kind, more)}, ${formatSigned(second, kind, more)})`;
  }
  const write = differenceWriter(summary, kind);
  return `[${write(summary.low)}, ${write(summary.high)}]`;
}

/** Writes a mean difference with its interval; without an interval, the mean difference alone. */
export const formatDifference = (difference: Summary, kind: NumberKind): string =>
  difference.low === null
    ? formatMean(difference, kind)
    : `${formatMean(difference, kind)} ${formatInterval(difference, kind)}`;

/** Writes seconds as `1m 3s`; `–` if they are not finite. */
export const formatSeconds = (seconds: number): string =>
  Number.isFinite(seconds)
    ? prettyMilliseconds(Math.max(0, seconds) * 1000, {
        secondsDecimalDigits: seconds < 60 ? 1 : 0,
      })
    : '–';

/**
 * Writes a value of a spec: numbers, truth values and texts as they are (but small numbers with an
 * exponent), `–` for null or undefined, and lists and objects as JSON.
 */
export function formatValue(value: Json | undefined): string {
  if (value === undefined || value === null) return '–';
  if (typeof value === 'number')
    return Math.abs(value) < 1e-3 && value !== 0
      ? value.toExponential().replace('-', MINUS)
      : String(value);
  if (typeof value === 'string' || typeof value === 'boolean') return String(value);
  return JSON.stringify(value);
}

/** Returns a text as it is, and any other value as JSON. */
export const plainText = (value: unknown): string =>
  typeof value === 'string' ? value : JSON.stringify(value);

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

/** Returns at most `length` code points of a text, followed by how many were cut. */
export function cut(text: string, length: number): string {
  const points = codePoints(text);
  if (points.length <= length) return text;
  const left = (points.length - length).toLocaleString('en');
  return `${points.slice(0, length).join('')}… (${left} more characters)`;
}

/**
 * Breaks a text between words into lines of at most `width` characters; a longer word has a longer
 * line. Every line but the first begins with `indent`.
 */
export function wrap(text: string, width: number, indent = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `${indent}${word}`;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join('\n');
}

/** Joins items in a sentence: `a, b and c`. */
export const list = (items: readonly string[]): string =>
  items.length < 2
    ? items.join('')
    : `${items.slice(0, -1).join(', ')} and ${items.slice(-1).join('')}`;
