/**
 * NumPy's .npy format (numpy.lib.format), written in version 1.0 and read in any: float32, float64
 * and int32 arrays in C order, little-endian. Reading other dtypes, byte orders or Fortran order
 * throws UserFault instead of returning wrong numbers.
 */
import { open } from 'node:fs/promises';
import { UserFault } from '../../../api.ts';
import { bytesOf, readInto, writeAll } from './large.ts';

type NpyData = Float32Array | Float64Array | Int32Array;
interface NpyArray {
  readonly shape: readonly number[];
  readonly data: NpyData;
}

const MAGIC = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]); // \x93NUMPY
const countOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Returns the bytes before the values. Throws RangeError where shape and values do not fit. */
function encodeHeader({ shape, data }: NpyArray): Buffer {
  if (countOf(shape) !== data.length)
    throw new RangeError(`shape [${shape.join(', ')}] does not hold ${data.length} values`);
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const descr = data instanceof Float32Array ? '<f4' : data instanceof Float64Array ? '<f8' : '<i4';
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // Magic (6) + version (2) + header length (2) + header is a multiple of 64; the header ends with
  // a newline.
  const padding = (64 - ((10 + dict.length + 1) % 64)) % 64;
  const header = Buffer.from(dict + ' '.repeat(padding) + '\n', 'latin1');
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([MAGIC, Buffer.from([1, 0]), length, header]);
}

/** Returns the bytes of a .npy file. Throws as `writeNpy` does. */
export const encodeNpy = (array: NpyArray): Buffer =>
  Buffer.concat([encodeHeader(array), bytesOf(array.data)]);

/** Writes a .npy file. Throws RangeError where the shape does not fit the number of values. */
export async function writeNpy(path: string, array: NpyArray): Promise<void> {
  const header = encodeHeader(array);
  const file = await open(path, 'w');
  try {
    await writeAll(file, header);
    await writeAll(file, bytesOf(array.data));
  } finally {
    await file.close();
  }
}

const TYPES = { '<f4': Float32Array, '<f8': Float64Array, '<i4': Int32Array } as const;

/** The most bytes of a header: enough for any shape. numpy.load's limit for headers is the same. */
const HEADER_LIMIT = 10_000;

/**
 * Returns the array that a file's header describes, filled with zeros, and the offset of its first
 * value in the file. Throws UserFault for a header that this reader does not know.
 * @param head the file's first bytes, which include the whole header
 * @param size the file's size in bytes
 */
function parseHeader(head: Buffer, size: number, path: string): [array: NpyArray, start: number] {
  const broken = (why: string): UserFault =>
    new UserFault(`${path} can't be read as a NumPy array: ${why}`);
  if (head.length < 12 || !head.subarray(0, 6).equals(MAGIC))
    throw broken('it does not start as a .npy file does');
  const wide = head.readUInt8(6) >= 2;
  const first = wide ? 12 : 10;
  const start = first + (wide ? head.readUInt32LE(8) : head.readUInt16LE(8));
  if (start > head.length || start - first > HEADER_LIMIT) throw broken('its header is cut short');
  const header = head.toString('latin1', first, start);
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
  const count = countOf(shape);
  if (descr !== '<f4' && descr !== '<f8' && descr !== '<i4')
    throw broken(`its dtype is ${descr.slice(0, 40)}, not <f4, <f8 or <i4`);
  const type = TYPES[descr],
    needed = count * type.BYTES_PER_ELEMENT;
  if (size - start !== needed)
    throw broken(
      `shape (${shapeText.slice(0, 80)}) needs ${needed} bytes of data, but it has ${size - start}`,
    );
  return [{ shape, data: new type(count) }, start];
}

/** Reads a .npy file. Throws UserFault for a form that this reader does not know. */
export async function readNpy(path: string): Promise<NpyArray> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(Math.min(size, HEADER_LIMIT));
    await readInto(file, head, 0);
    const [array, start] = parseHeader(head, size, path),
      bytes = bytesOf(array.data);
    if ((await readInto(file, bytes, start)) !== bytes.byteLength)
      throw new UserFault(`${path} can't be read as a NumPy array: it is cut short`);
    return array;
  } finally {
    await file.close();
  }
}
