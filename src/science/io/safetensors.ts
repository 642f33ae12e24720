/**
 * The safetensors format (github.com/huggingface/safetensors): 8 bytes header length, a JSON header
 * {name: {dtype, shape, data_offsets}}, then the tensors' bytes, little-endian, C order.
 * Floats of any width become float32, integers int32.
 */
import { open, writeFile, type FileHandle } from 'node:fs/promises';
import { UserFault } from '../../api.ts';
import { isRecord, parseJson, shown } from '../../untrusted/json.ts';
import type { HostTensor } from '../nn/types.ts';
import { widenBfloat16, widenFloat16 } from './half.ts';

/** Of bytes: the Rust reader allows 100 million, 90 thousand tensors in one file take 11. JSON takes some twenty times its size in memory. */
const HEADER_LIMIT = 32_000_000;
const WIDTH: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

/** As NumPy has it since version 2. */
const MOST_DIMENSIONS = 64;

export interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** From the start of the data, end exclusive. */
  readonly offsets: readonly [number, number];
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly dataStart: number;
}

const isIndex = (x: unknown): x is number =>
  typeof x === 'number' && Number.isSafeInteger(x) && x >= 0;

function parseEntry(path: string, name: string, entry: unknown, dataLength: number): TensorEntry {
  const broken = (why: string): UserFault =>
    new UserFault(`${path}: tensor ${shown(name)} ${why}`, 'The file is damaged: fetch it again.');
  if (!isRecord(entry) || typeof entry['dtype'] !== 'string') throw broken('has no dtype');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!Array.isArray(shape) || !shape.every(isIndex) || shape.length > MOST_DIMENSIONS)
    throw broken('has no shape');
  if (
    !Array.isArray(offsets) ||
    offsets.length !== 2 ||
    !isIndex(offsets[0]) ||
    !isIndex(offsets[1])
  )
    throw broken('has no data_offsets');
  const [start, end] = offsets as [number, number];
  const width = WIDTH[dtype];
  const count = shape.reduce((a, b) => a * b, 1);
  if (width !== undefined && end - start !== count * width)
    throw broken(
      `of shape [${shape.join(', ')}] and dtype ${dtype.slice(0, 20)} takes ${count * width} bytes, the header gives it ${end - start}`,
    );
  if (start > end || end > dataLength)
    throw broken(
      `ends at byte ${end} of the data, but the file holds ${dataLength}: it is truncated`,
    );
  return { dtype, shape, offsets: [start, end] };
}

/** The header, checked against the file's size. Throws UserFault naming the file (and the tensor) where it is truncated or foreign. */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsHeader> {
  const file = await open(path).catch(() => {
    throw new UserFault(`${path} can't be opened`);
  });
  try {
    const size = (await file.stat()).size;
    const foreign = (why: string): UserFault =>
      new UserFault(`${path} is no safetensors file: ${why}`);
    if (size < 8) throw foreign(`it has only ${size} bytes`);
    const prefix = Buffer.alloc(8);
    await file.read(prefix, 0, 8, 0);
    const length = Number(prefix.readBigUInt64LE());
    if (length > HEADER_LIMIT) throw foreign('it does not start with the length of a header');
    if (8 + length > size)
      throw foreign(
        `its header takes ${length} bytes, the file has ${size}; it is foreign or truncated`,
      );
    const bytes = Buffer.alloc(length);
    await file.read(bytes, 0, length, 8);
    const header = parseJson(bytes.toString('utf8'), `The header of ${path}`);
    if (!isRecord(header)) throw foreign('its header is no JSON object');
    const tensors = new Map<string, TensorEntry>();
    for (const [name, entry] of Object.entries(header)) {
      if (name !== '__metadata__')
        tensors.set(name, parseEntry(path, name, entry, size - 8 - length));
    }
    const metadata = isRecord(header['__metadata__'])
      ? (header['__metadata__'] as Record<string, string>)
      : {};
    return { tensors, metadata, dataStart: 8 + length };
  } finally {
    await file.close();
  }
}

/** `raw`: the tensor's own bytes, in an ArrayBuffer of their own. */
function decode(
  path: string,
  name: string,
  { dtype, shape }: TensorEntry,
  raw: ArrayBuffer,
): HostTensor {
  switch (dtype) {
    case 'F32':
      return { shape, data: new Float32Array(raw) };
    case 'F64':
      return { shape, data: Float32Array.from(new Float64Array(raw)) };
    case 'F16':
      return { shape, data: widenFloat16(new Uint16Array(raw)) };
    case 'BF16':
      return { shape, data: widenBfloat16(new Uint16Array(raw)) };
    case 'I32':
      return { shape, data: new Int32Array(raw) };
    case 'I64':
      return { shape, data: Int32Array.from(new BigInt64Array(raw), Number) };
    case 'I16':
      return { shape, data: Int32Array.from(new Int16Array(raw)) };
    case 'I8':
      return { shape, data: Int32Array.from(new Int8Array(raw)) };
    case 'U8':
    case 'BOOL':
      return { shape, data: Int32Array.from(new Uint8Array(raw)) };
    default:
      throw new UserFault(
        `${path}: tensor "${name}" has dtype ${dtype}, which is not read here`,
        'Save the checkpoint in float32, float16 or bfloat16.',
      );
  }
}

async function fill(
  file: FileHandle,
  path: string,
  name: string,
  room: Uint8Array,
  position: number,
): Promise<void> {
  const { bytesRead } = await file.read(room, 0, room.byteLength, position);
  if (bytesRead !== room.byteLength) throw new UserFault(`${path}: tensor "${name}" is cut short`);
}

/**
 * TensorFlow takes memory over without a copy where it starts at a multiple of 64 (EIGEN_MAX_ALIGN_BYTES), and a large
 * ArrayBuffer starts 16 bytes into a page (glibc's malloc). Where that is not so it copies, which is only more memory.
 */
const ALIGNMENT = 64,
  FIRST = 48;

/** Room for tensors in one ArrayBuffer, each where TensorFlow can take it over. */
function alignedRoom(sizes: readonly number[]): Uint8Array[] {
  const starts: number[] = [];
  let end = FIRST;
  for (const size of sizes) {
    starts.push(end);
    end += Math.ceil(size / ALIGNMENT) * ALIGNMENT;
  }
  const room = new ArrayBuffer(end);
  return sizes.map((size, i) => new Uint8Array(room, starts[i], size));
}

/** float32 tensors of a file by name, in one ArrayBuffer that a backend may share: for tensors that are all kept as long. Throws UserFault as readSafetensors. */
export async function readFloatsTogether(
  path: string,
  names: readonly string[],
): Promise<Map<string, HostTensor>> {
  const { tensors, dataStart } = await readSafetensorsHeader(path);
  const entries = names.map((name) => tensors.get(name)!);
  const rooms = alignedRoom(entries.map(({ offsets: [start, end] }) => end - start));
  const file = await open(path);
  try {
    const out = new Map<string, HostTensor>();
    for (const [i, name] of names.entries()) {
      const room = rooms[i]!,
        { shape, offsets } = entries[i]!;
      await fill(file, path, name, room, dataStart + offsets[0]);
      out.set(name, {
        shape,
        data: new Float32Array(room.buffer, room.byteOffset, room.byteLength / 4),
      });
    }
    return out;
  } finally {
    await file.close();
  }
}

/** Tensors of a file by name: those asked for, else all. Throws UserFault naming file and tensor. */
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
      const raw = new ArrayBuffer(entry.offsets[1] - entry.offsets[0]);
      await fill(file, path, name, new Uint8Array(raw), dataStart + entry.offsets[0]);
      out.set(name, decode(path, name, entry, raw));
    }
    return out;
  } finally {
    await file.close();
  }
}

/**
 * Writes float32 (and int32) tensors, names in sorted order, so that the bytes depend on the content only.
 * `metadata` defaults to what transformers asks of a file it loads.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  const bodies: Buffer[] = [];
  let offset = 0;
  for (const name of [...tensors.keys()].sort()) {
    const { shape, data } = tensors.get(name)!;
    if (!(data instanceof Float32Array || data instanceof Int32Array))
      throw new TypeError(`tensor "${name}" is neither float32 nor int32`);
    header[name] = {
      dtype: data instanceof Float32Array ? 'F32' : 'I32',
      shape,
      data_offsets: [offset, offset + data.byteLength],
    };
    bodies.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    offset += data.byteLength;
  }
  let json = JSON.stringify(header);
  json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8); // the data starts on a multiple of eight
  const head = Buffer.from(json, 'utf8');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  await writeFile(path, [length, head, ...bodies]);
}
