/**
 * NumPy's .npy format, version 1.0 (numpy.lib.format): float32, float64 and int32 arrays in C order, little-endian.
 * Readers of other dtypes, byte orders and Fortran order get a UserFault, never wrong numbers.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { UserFault } from '../../api.ts';

export type NpyData = Float32Array | Float64Array | Int32Array;
export interface NpyArray<D extends NpyData = NpyData> {
  readonly shape: readonly number[];
  readonly data: D;
}

const MAGIC = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]); // \x93NUMPY
/** Room for the shape of any array; numpy.load reads no more of a header that it does not trust. */
const HEADER_LIMIT = 10_000;
const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const descrOf = (data: NpyData): string =>
  data instanceof Float32Array ? '<f4' : data instanceof Float64Array ? '<f8' : '<i4';

/** The file's bytes. data.length must be the product of shape. */
export function encodeNpy({ shape, data }: NpyArray): Buffer {
  if (product(shape) !== data.length)
    throw new RangeError(`shape [${shape.join(', ')}] does not hold ${data.length} values`);
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dict = `{'descr': '${descrOf(data)}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // Magic (6) + version (2) + header length (2) + header is a multiple of 64; the header ends with a newline.
  const padding = (64 - ((10 + dict.length + 1) % 64)) % 64;
  const header = Buffer.from(dict + ' '.repeat(padding) + '\n', 'latin1');
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  const body = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([MAGIC, Buffer.from([1, 0]), length, header, body]);
}

/** Writes an array for numpy.load. */
export async function writeNpy(path: string, array: NpyArray): Promise<void> {
  await writeFile(path, encodeNpy(array));
}

/** Parses a .npy file's bytes; `name` stands in errors. Throws UserFault where it isn't one that this reader knows. */
export function decodeNpy(bytes: Uint8Array, name: string): NpyArray {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const broken = (why: string): UserFault =>
    new UserFault(`${name} can't be read as a NumPy array: ${why}`);
  if (view.length < 12 || !view.subarray(0, 6).equals(MAGIC))
    throw broken('it does not start as a .npy file does');
  const wide = view[6]! >= 2;
  const start = wide ? 12 : 10;
  const end = start + (wide ? view.readUInt32LE(8) : view.readUInt16LE(8));
  if (end > view.length || end - start > HEADER_LIMIT) throw broken('its header is cut short');
  const header = view.toString('latin1', start, end);
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const shapeText = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descr === undefined || shapeText === undefined)
    throw broken('its header has no dtype or shape');
  if (!/'fortran_order':\s*False/.test(header)) throw broken('it is in Fortran order');
  const shape = shapeText
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(Number);
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0))
    throw broken(`its shape is (${shapeText.slice(0, 80)})`);
  const count = product(shape);
  const width = descr === '<f8' ? 8 : 4;
  if (descr !== '<f4' && descr !== '<f8' && descr !== '<i4')
    throw broken(`its dtype is ${descr.slice(0, 40)}, not <f4, <f8 or <i4`);
  if (view.length - end !== count * width)
    throw broken(
      `shape (${shapeText.slice(0, 80)}) needs ${count * width} bytes of data, it has ${view.length - end}`,
    );
  // A copy: the data needn't be aligned in the file's buffer.
  const body = view.buffer.slice(
    view.byteOffset + end,
    view.byteOffset + end + count * width,
  ) as ArrayBuffer;
  return {
    shape,
    data:
      descr === '<f4'
        ? new Float32Array(body)
        : descr === '<f8'
          ? new Float64Array(body)
          : new Int32Array(body),
  };
}

/** Reads an array that numpy.save or writeNpy wrote. */
export async function readNpy(path: string): Promise<NpyArray> {
  return decodeNpy(await readFile(path), path);
}
