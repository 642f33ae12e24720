/** Writes a user's text as LaTeX, with every special character escaped. Pure. */
import { codePoints } from '../format.ts';

/** Control characters and line ends of any kind. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

/**
 * Replacements that LaTeX's kernel (2020 or newer) understands without packages, in any font
 * encoding.
 */
const SPECIAL: ReadonlyMap<string, string> = new Map(
  Object.entries({
    '\\': '\\textbackslash{}',
    '{': '\\{',
    '}': '\\}',
    $: '\\$',
    '&': '\\&',
    '#': '\\#',
    _: '\\_',
    '%': '\\%',
    '~': '\\textasciitilde{}',
    '^': '\\textasciicircum{}',
    '<': '\\textless{}',
    '>': '\\textgreater{}',
    '|': '\\textbar{}',
    '"': '\\char34{}',
    "'": '\\char39{}',
    '`': '\\textasciigrave{}',
    '[': '{[}', // after \\ it would begin an option
    ']': '{]}',
    '*': '{*}', // likewise
    '…': '\\dots{}',
    '–': '--',
    '—': '---',
    '’': '\\char39{}',
    '“': '\\char34{}',
    '”': '\\char34{}',
    '§': '\\S{}',
  }),
);
const GREEK: readonly (readonly [string, string])[] = [
  ['α', 'alpha'],
  ['β', 'beta'],
  ['γ', 'gamma'],
  ['δ', 'delta'],
  ['ε', 'epsilon'],
  ['η', 'eta'],
  ['θ', 'theta'],
  ['κ', 'kappa'],
  ['λ', 'lambda'],
  ['μ', 'mu'],
  ['ρ', 'rho'],
  ['σ', 'sigma'],
  ['τ', 'tau'],
  ['φ', 'phi'],
  ['Δ', 'Delta'],
  ['Σ', 'Sigma'],
];
const MATHS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    '†': '^{\\dagger}',
    ...Object.fromEntries(GREEK.map(([letter, name]) => [letter, `\\${name}`])),
    '−': '-',
    '±': '\\pm',
    '×': '\\times',
    '·': '\\cdot',
    '→': '\\rightarrow',
    '≤': '\\leq',
    '≥': '\\geq',
    '∞': '\\infty',
    '½': '\\frac{1}{2}',
    '²': '^{2}',
    '³': '^{3}',
    '₀': '_{0}',
    '₁': '_{1}',
    '₂': '_{2}',
  }),
);

/**
 * Letters of other scripts stay as they are: LaTeX reads UTF-8, and what it can print depends on
 * its fonts. Control characters become spaces, so that no text can end a line or a comment.
 */
export const escapeLatex = (text: string): string =>
  codePoints(text.replaceAll(CONTROL, ' '))
    .map((character, i, all) => {
      if (character === '-' && all[i + 1] === '-') return '-{}'; // otherwise the two make a dash
      const maths = MATHS.get(character);
      return SPECIAL.get(character) ?? (maths === undefined ? character : `$${maths}$`);
    })
    .join('');

/** Returns a comment of one line, whatever the text contains. */
export const latexComment = (text: string): string => `% ${text.replaceAll(CONTROL, ' ')}`;

/** Returns a label of letters, digits, `-` and `:`, which every package accepts. */
export const latexLabel = (text: string): string => text.replaceAll(/[^A-Za-z0-9:]+/g, '-');

/**
 * Writes a number from `plainSummary` in math mode: `0.950 ± 0.064` → `$0.950 \pm 0.064$`. Spaces
 * before a parenthesis and after a comma are kept.
 */
export const latexNumber = (text: string): string =>
  `$${text
    .replaceAll('±', '\\pm')
    .replaceAll(' (', '\\ (')
    .replaceAll(', ', ',\\ ')
    .replaceAll('−', '-')
    .replaceAll(
      /e([+-]?)0*(\d+)/g,
      (_, sign: string, power: string) => `\\times 10^{${sign === '-' ? '-' : ''}${power}}`,
    )}$`;
