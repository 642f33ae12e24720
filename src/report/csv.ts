/** RFC 4180, with a header line. */
export type CsvValue = string | number | boolean | null | undefined;

const field = (value: CsvValue): string => {
  const text = value === null || value === undefined ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Columns are those of the first row, in its order, then what later rows add. */
export function toCsv(rows: readonly { readonly [column: string]: CsvValue }[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((line) => `${line.map(field).join(',')}\r\n`)
    .join('');
}
