import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { defineDataset, UserFault } from '../../src/api.ts';
import { checkColumns, columnNames, rowFromRecord } from '../../src/data/columns.ts';
import { dataFiles } from './shared/asset-files.ts';

/**
 * Functions that unpack a page of a Parquet file. They throw if the page unpacks to more than the
 * length that it states: such a page is damaged, or made to exhaust memory.
 */
const compressors = {
  GZIP: (bytes: Uint8Array, length: number) =>
    gunzipSync(bytes, { maxOutputLength: Math.max(1, length) }),
  BROTLI: (bytes: Uint8Array, length: number) =>
    brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
};

export default defineDataset({
  name: 'parquet',
  summary: "Apache Parquet, the format of the hub's data sets.",
  unordered: false,
  async *read(asset, split) {
    const hyparquet = await import('hyparquet');
    for (const { path, name } of await dataFiles(asset, ['.parquet'])) {
      const file = await hyparquet.asyncBufferFromFile(path);
      /** Throws an error of the reader as a `UserFault`. */
      const refuse = (error: unknown): never => {
        throw new UserFault(
          `${name} could not be read as Parquet: ${(error as Error).message}`,
          'Is the file whole, and compressed by Snappy, gzip, Brotli or not at all?',
        );
      };
      const metadata = await hyparquet.parquetMetadataAsync(file).catch(refuse);
      const present = hyparquet.parquetSchema(metadata).children.map((child) => child.element.name);
      checkColumns(present, split, name);
      const columns = [...new Set(columnNames(split))];
      let start = 0;
      for (const group of metadata.row_groups) {
        const end = start + Number(group.num_rows);
        const part = { file, metadata, columns, rowStart: start, rowEnd: end, compressors };
        const records = await hyparquet.parquetReadObjects(part).catch(refuse);
        for (const [i, record] of records.entries())
          yield rowFromRecord(record, split, `${name}:${start + i}`, name);
        start = end;
      }
    }
  },
});
