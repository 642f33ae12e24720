/** Reads tensors of safetensors and .npy. src/run may not import the readers of src/science. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface StoredTensor {
  readonly name: string;
  readonly values: () => Float64Array | Float32Array;
}

export const isTensorFile = (name: string): boolean => /\.(safetensors|npy)$/.test(name);

/** Returns the tensors of floats in a file. A .npy file has one, whose name is ''. */
export const tensorsIn = (file: string): readonly StoredTensor[] =>
  file.endsWith('.npy') ? npyTensors(file) : safetensorsTensors(file);

/** Reads bytes of a file; without `length`, to the file's end. Throws if the file is too short. */
function readBytes(file: string, start: number, length?: number): Buffer {
  const handle = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(length ?? fstatSync(handle).size - start);
    for (let done = 0; done < bytes.length;) {
      const read = readSync(handle, bytes, done, bytes.length - done, start + done);
      if (read === 0) throw new Error(`${file} is cut short`);
      done += read;
    }
    return bytes;
  } finally {
    closeSync(handle);
  }
}

type Decode = (bytes: Buffer) => Float64Array | Float32Array;

/** Copies the bytes, which need not be aligned to four. */
const float32: Decode = ({ buffer, byteOffset, byteLength }) =>
  new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
/** Copies the bytes, which need not be aligned to eight. */
const float64: Decode = ({ buffer, byteOffset, byteLength }) =>
  new Float64Array(buffer.slice(byteOffset, byteOffset + byteLength));
/** A bfloat16 is the upper half of a float32. */
const bfloat16: Decode = (bytes) => {
  const wide = new Uint32Array(bytes.length / 2);
  for (let i = 0; i < wide.length; i++) wide[i] = bytes.readUInt16LE(2 * i) << 16;
  return new Float32Array(wide.buffer);
};

const SAFETENSORS: Readonly<Record<string, Decode>> = {
  F32: float32,
  F64: float64,
  BF16: bfloat16,
};
const NPY: Readonly<Record<string, Decode>> = { '<f4': float32, '<f8': float64 };

interface Described {
  readonly dtype: string;
  readonly data_offsets: readonly [number, number];
}

/**
 * Returns the tensors of floats in a safetensors file. The format: 8 bytes with the header's
 * length, the header (JSON), the values.
 */
function safetensorsTensors(file: string): readonly StoredTensor[] {
  const length = Number(readBytes(file, 0, 8).readBigUInt64LE());
  const header = JSON.parse(readBytes(file, 8, length).toString()) as Record<string, Described>;
  return Object.entries(header).flatMap(([name, { dtype, data_offsets: offsets }]) => {
    const decode = SAFETENSORS[dtype];
    if (name === '__metadata__' || decode === undefined) return []; // not floats
    const [start, end] = offsets;
    return [{ name, values: () => decode(readBytes(file, 8 + length + start, end - start)) }];
  });
}

/**
 * Returns the tensor of a .npy file; [] if it is not of floats. The format: 8 bytes with the name
 * and version of the format, the header's length (2 bytes in version 1, else 4), the header (a
 * Python dictionary), the values.
 */
function npyTensors(file: string): readonly StoredTensor[] {
  const lead = readBytes(file, 0, 12);
  const start = lead[6] === 1 ? 10 : 12,
    length = lead[6] === 1 ? lead.readUInt16LE(8) : lead.readUInt32LE(8);
  const header = readBytes(file, start, length).toString('latin1');
  const decode = NPY[/'descr': '([^']*)'/.exec(header)?.[1] ?? ''];
  return decode === undefined
    ? []
    : [{ name: '', values: () => decode(readBytes(file, start + length)) }];
}
