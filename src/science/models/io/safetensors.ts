/**
 * The safetensors format (github.com/huggingface/safetensors): 8 bytes with the length of the
 * header, a JSON header {name: {dtype, shape, data_offsets}}, then the bytes of the tensors,
 * little-endian and in C order. Floats of any width are read as float32, integers as int32.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { UserFault } from '../../../api.ts';
import { named } from '../../../base/lookup.ts';
import { isRecord, parseJson, shown } from '../../../base/untrusted/json.ts';
import type { HostTensor } from '../types.ts';
import { bytesOf, readInto, updateWith, writeAll } from './large.ts';

/**
 * The most bytes of a header. The header of 90,000 tensors has 11 million; parsed, it takes 20
 * times as much memory.
 */
const HEADER_LIMIT = 32_000_000;

/**
 * The offset of a tensor's bytes in the ArrayBuffer that they are read into. TensorFlow shares
 * memory that starts at a multiple of 64 (EIGEN_MAX_ALIGN_BYTES), and copies any other. A large
 * ArrayBuffer starts 16 bytes into a page (glibc's malloc), so offset 48 is at such a multiple.
 */
const FIRST = 48;

/** How many bytes a value takes (`width`), and a function that reads the values from FIRST on. */
interface Dtype {
  readonly width: number;
  read(raw: ArrayBuffer, fault: (why: string) => UserFault): Float32Array | Int32Array;
}
/** Returns the bytes from FIRST on as integers, each from 0 to 255. */
const fromBytes = (raw: ArrayBuffer): Int32Array => Int32Array.from(new Uint8Array(raw, FIRST));
const DTYPES: ReadonlyMap<string, Dtype> = new Map(
  Object.entries<Dtype>({
    F64: { width: 8, read: (raw) => Float32Array.from(new Float64Array(raw, FIRST)) },
    F32: { width: 4, read: (raw) => new Float32Array(raw, FIRST) },
    F16: { width: 2, read: (raw) => widenFloat16(new Uint16Array(raw, FIRST)) },
    BF16: { width: 2, read: (raw) => widenBfloat16(new Uint16Array(raw, FIRST)) },
    I64: { width: 8, read: (raw, fault) => toInt32(new BigInt64Array(raw, FIRST), fault) },
    I32: { width: 4, read: (raw) => new Int32Array(raw, FIRST) },
    I16: { width: 2, read: (raw) => Int32Array.from(new Int16Array(raw, FIRST)) },
    I8: { width: 1, read: (raw) => Int32Array.from(new Int8Array(raw, FIRST)) },
    U8: { width: 1, read: fromBytes },
    BOOL: { width: 1, read: fromBytes },
  }),
);

/** The most dimensions that a tensor may have: NumPy's limit since version 2. */
const MOST_DIMENSIONS = 64;

export interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Start and end (exclusive) in bytes, counted from the start of the data. */
  readonly offsets: readonly [number, number];
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly dataStart: number;
}

/** Whether x is a whole number from 0. */
const isIndex = (x: unknown): x is number =>
  typeof x === 'number' && Number.isSafeInteger(x) && x >= 0;

const damagedFault = (path: string, name: string, why: string): UserFault =>
  new UserFault(`${path}: tensor ${shown(name)} ${why}`, 'The file is damaged: fetch it again.');

/** Checks and returns a tensor's entry in the header. Throws UserFault if it misfits the data. */
function parseEntry(path: string, name: string, entry: unknown, dataLength: number): TensorEntry {
  const fault = (why: string): UserFault => damagedFault(path, name, why);
  if (!isRecord(entry) || typeof entry['dtype'] !== 'string') throw fault('has no dtype');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!Array.isArray(shape) || !shape.every(isIndex) || shape.length > MOST_DIMENSIONS)
    throw fault('has no shape');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isIndex))
    throw fault('has no data_offsets');
  const [start, end] = offsets as [number, number];
  if (start > end) throw fault(`begins at byte ${start} of the data and ends at byte ${end}`);
  const width = DTYPES.get(dtype)?.width;
  const count = shape.reduce((a, b) => a * b, 1);
  if (width !== undefined && end - start !== count * width)
    throw fault(
      `of shape [${shape.join(', ')}] and dtype ${dtype.slice(0, 20)} ` +
        `takes ${count * width} bytes, but the header gives it ${end - start}`,
    );
  if (end > dataLength)
    throw fault(
      `ends at byte ${end} of the data, but the file holds ${dataLength}: it is truncated`,
    );
  return { dtype, shape, offsets: [start, end] };
}

/** Throws UserFault unless the tensors follow each other without gaps, as the format demands. */
function checkLayout(
  path: string,
  tensors: ReadonlyMap<string, TensorEntry>,
  dataLength: number,
): void {
  const inOrder = [...tensors].sort(
    ([, { offsets: a }], [, { offsets: b }]) => a[0] - b[0] || a[1] - b[1],
  );
  let end = 0,
    before = '';
  for (const [name, { offsets }] of inOrder) {
    const [start] = offsets;
    const fault = (why: string): UserFault =>
      damagedFault(path, name, `begins at byte ${start} of the data, ${why}`);
    if (start < end) throw fault(`before tensor "${before}" ends (byte ${end}): they overlap`);
    if (start > end) throw fault(`and bytes ${end} to ${start} belong to no tensor`);
    end = offsets[1];
    before = name;
  }
  if (end !== dataLength)
    throw new UserFault(
      `${path} holds ${dataLength} bytes of data, but its tensors take ${end}`,
      'The file is damaged, or was not written as safetensors: fetch it again.',
    );
}

/** Reads a file's header. Throws UserFault where the file is truncated or not in this format. */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  const file = await open(path).catch(() => {
    throw new UserFault(`${path} can't be opened`);
  });
  try {
    const size = (await file.stat()).size;
    const foreign = (why: string): UserFault =>
      new UserFault(`${path} is not a safetensors file: ${why}`);
    if (size < 8) throw foreign(`it has only ${size} bytes`);
    const prefix = Buffer.alloc(8);
    await readInto(file, prefix, 0);
    const length = Number(prefix.readBigUInt64LE());
    if (length > HEADER_LIMIT) throw foreign('it does not start with the length of a header');
    if (8 + length > size)
      throw foreign(
        `its header takes ${length} bytes, but the file has ${size}; it is another format or ` +
          'truncated',
      );
    const bytes = Buffer.alloc(length);
    await readInto(file, bytes, 8);
    const header = parseJson(bytes.toString('utf8'), `The header of ${path}`);
    if (!isRecord(header)) throw foreign('its header is not a JSON object');
    const tensors = new Map<string, TensorEntry>();
    for (const [name, entry] of Object.entries(header)) {
      if (name !== '__metadata__')
        tensors.set(name, parseEntry(path, name, entry, size - 8 - length));
    }
    checkLayout(path, tensors, size - 8 - length);
    const metadata = isRecord(header['__metadata__'])
      ? (header['__metadata__'] as Record<string, string>)
      : {};
    return { tensors, metadata, dataStart: 8 + length };
  } finally {
    await file.close();
  }
}

/** Converts to int32. Throws what `fault` returns for a value that does not fit. */
function toInt32(values: BigInt64Array, fault: (why: string) => UserFault): Int32Array {
  const far = values.find((value) => BigInt.asIntN(32, value) !== value);
  if (far !== undefined) throw fault(`holds ${far}, which is beyond 32 bits`);
  return Int32Array.from(values, Number);
}

/**
 * Reads the tensors `names`, by default all, into memory that a backend may share without copying.
 * Throws UserFault naming file and tensor where one is missing, cut short or of an unknown dtype.
 */
export async function readSafetensors(
  path: string,
  names?: readonly string[],
): Promise<Map<string, HostTensor>> {
  const { tensors, dataStart } = await readSafetensorsHeader(path);
  const file = await open(path);
  try {
    const out = new Map<string, HostTensor>();
    for (const name of names ?? tensors.keys()) {
      const entry = tensors.get(name);
      if (entry === undefined) throw new UserFault(`${path} has no tensor "${name}"`);
      const { dtype, shape, offsets } = entry,
        [start, end] = offsets,
        raw = new ArrayBuffer(FIRST + end - start);
      if ((await readInto(file, new Uint8Array(raw, FIRST), dataStart + start)) !== end - start)
        throw new UserFault(`${path}: tensor "${name}" is cut short`);
      const reader = DTYPES.get(dtype);
      if (reader === undefined)
        throw new UserFault(
          `${path}: tensor "${name}" has dtype ${dtype}, which cannot be read`,
          'Save the checkpoint in float32, float16 or bfloat16.',
        );
      const data = reader.read(raw, (why) => new UserFault(`${path}: tensor "${name}" ${why}`));
      out.set(name, { shape, data });
    }
    return out;
  } finally {
    await file.close();
  }
}

/** A tensor that is fetched when it is written, so that main memory holds one at a time. */
export interface PendingTensor {
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'int32';
  readonly data: () => Promise<HostTensor['data']>;
}

/**
 * Writes tensors in the order of their names, so that the file's bytes depend only on its content.
 * Returns the file's SHA-256 in hex. Throws RangeError where values and shape do not fit.
 */
export async function writePending(
  path: string,
  tensors: ReadonlyMap<string, PendingTensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<string> {
  const names = [...tensors.keys()].sort();
  const header: Record<string, unknown> = { __metadata__: metadata };
  /** Returns the bytes of a tensor of this shape, 4 for each value. */
  const countBytes = (shape: readonly number[]): number => 4 * shape.reduce((a, b) => a * b, 1);
  let offset = 0;
  for (const name of names) {
    const { shape, dtype } = named(tensors, name),
      end = offset + countBytes(shape);
    const stored = dtype === 'float32' ? 'F32' : 'I32';
    header[name] = { dtype: stored, shape, data_offsets: [offset, end] };
    offset = end;
  }
  let json = JSON.stringify(header);
  // The data starts at a multiple of eight.
  json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8);
  const head = Buffer.from(json, 'utf8');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));

  const hash = createHash('sha256');
  const file = await open(path, 'w');
  // writes bytes, and adds them to the hash
  const put = async (bytes: Uint8Array): Promise<void> => {
    updateWith(hash, bytes);
    await writeAll(file, bytes);
  };
  try {
    await put(length);
    await put(head);
    for (const name of names) {
      const { shape, data } = named(tensors, name),
        bytes = bytesOf(await data());
      if (bytes.byteLength !== countBytes(shape))
        throw new RangeError(
          `tensor "${name}" of shape [${shape.join(', ')}] has ${bytes.byteLength} bytes`,
        );
      await put(bytes);
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/**
 * `writePending` for tensors in memory, float32 or int32; throws TypeError for any other.
 * `metadata`: by default what transformers requires.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<string> {
  const pending = [...tensors].map(([name, { shape, data }]): [string, PendingTensor] => {
    if (!(data instanceof Float32Array || data instanceof Int32Array))
      throw new TypeError(`tensor "${name}" is neither float32 nor int32`);
    const dtype = data instanceof Float32Array ? 'float32' : 'int32';
    return [name, { shape, dtype, data: () => Promise.resolve(data) }];
  });
  return writePending(path, new Map(pending), metadata);
}

/** IEEE 754 binary16 → binary32, exactly. */
export function widenFloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) {
    const h = bits[i]!,
      sign = (h & 0x8000) << 16,
      exponent = (h >>> 10) & 0x1f,
      fraction = h & 0x3ff;
    if (exponent === 0)
      out[i] = (sign === 0 ? 1 : -1) * fraction * 2 ** -24; // zero and subnormals
    else
      words[i] = (sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13)) >>> 0;
  }
  return out;
}

/** bfloat16 → binary32, of which it is the upper half. */
export function widenBfloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}
