import { defineDataset, UserFault } from '../../src/api.ts';
import { formats } from '../../src/data/format.ts';

export default defineDataset({
  name: 'parquet',
  summary: "Apache Parquet, the format of the hub's data sets.",
  matches: formats.parquet,
  unordered: false,
  async *read(asset, split) {
    const [hyparquet, zlib, { dataFiles }, { checkColumns, columnNames, rowFromRecord }] =
      await Promise.all([
        import('hyparquet'),
        import('node:zlib'),
        import('./shared/asset-files.ts'),
        import('../../src/data/columns.ts'),
      ]);
    // A page that unpacks to more than the length it states is damaged or made to exhaust memory.
    const compressors = {
      GZIP: (bytes: Uint8Array, length: number) =>
        zlib.gunzipSync(bytes, { maxOutputLength: Math.max(1, length) }),
      BROTLI: (bytes: Uint8Array, length: number) =>
        zlib.brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
    };
    for (const { path, name } of await dataFiles(asset, ['.parquet'])) {
      const file = await hyparquet.asyncBufferFromFile(path);
      const fault = (error: unknown): UserFault =>
        new UserFault(
          `${name} could not be read as Parquet: ${(error as Error).message}`,
          'Is the file whole, and compressed by Snappy, gzip, Brotli or not at all?',
        );
      const metadata = await hyparquet.parquetMetadataAsync(file).catch((error: unknown) => {
        throw fault(error);
      });
      const present = hyparquet.parquetSchema(metadata).children.map((child) => child.element.name);
      checkColumns(present, split, name);
      const columns = [...new Set(columnNames(split))];
      let start = 0;
      for (const group of metadata.row_groups) {
        const end = start + Number(group.num_rows);
        const records = await hyparquet
          .parquetReadObjects({
            file,
            metadata,
            columns,
            rowStart: start,
            rowEnd: end,
            compressors,
          })
          .catch((error: unknown) => {
            throw fault(error);
          });
        for (const [i, record] of records.entries()) {
          yield rowFromRecord(record, split, `${name}:${start + i}`, name);
        }
        start = end;
      }
    }
  },
});
