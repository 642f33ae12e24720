/** CSV as in RFC 4180, with a header line. */
export type CsvValue = string | number | boolean | null | undefined;

/**
 * A text that a spreadsheet would take for a formula (`=1+1`, `@SUM`) gets a `'` before it, as
 * OWASP advises ("CSV Injection"), because the names of cells and rows come from specs and data
 * sets. A number that is written as text (`-0.5`, `+1e-3`) is left as it is.
 */
const FORMULA = /^[=+\-@\t\r]/,
  NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

const escapeFormula = (text: string): string =>
  FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;

/** Writes one field, in quotes if it needs them; '' for null and undefined. */
const csvField = (value: CsvValue): string => {
  const text =
    typeof value === 'string'
      ? escapeFormula(value)
      : value === null || value === undefined
        ? ''
        : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Returns one line of CSV, without a line end. */
export const csvLine = (values: readonly CsvValue[]): string => values.map(csvField).join(',');

/** Returns rows as CSV. The columns are those of the first row, then those that later rows add. */
export function toCsv(rows: readonly { readonly [column: string]: CsvValue }[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((line) => `${csvLine(line)}\r\n`)
    .join('');
}
