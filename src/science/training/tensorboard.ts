/**
 * A training's history and curves as a TensorBoard event file. A record (TensorFlow's
 * TFRecord) consists of its length (8 bytes), the masked CRC-32C of these bytes, the data, and the
 * masked CRC-32C of the data, little-endian. The data is the protocol buffer Event {1: wall_time,
 * 2: step, 3: file_version, 5: Summary {1: Value {1: tag, 2: simple_value}}}
 * (tensorflow/core/util/event.proto, framework/summary.proto).
 */
import type { Journal } from './session.ts';
import type { StepRecord } from './settings.ts';
import type { CurvePoint } from './watch.ts';

interface ScalarEvent {
  readonly tag: string;
  readonly step: number;
  readonly value: number;
  /** Seconds since 1970. */
  readonly time: number;
}

/** The remainder of each byte, for CRC-32C. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** Returns the CRC-32C (Castagnoli) of bytes, as a whole number from 0 to 2³² − 1. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * Returns the masked CRC-32C of bytes, in 4 bytes: the checksum rotated right by 15 bits, plus a
 * constant. Masking keeps the checksum of data that itself contains checksums from being trivial.
 */
function maskedCrc(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes),
    out = Buffer.alloc(4);
  out.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return out;
}

function tfRecord(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]);
}

/** Returns a whole number as a varint of protocol buffers. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) {
      bytes.push(Number(rest));
      return Buffer.from(bytes);
    }
    bytes.push(Number(rest & 127n) | 128);
  }
}
// A field's key is its number and its wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5
// four bytes. The next function returns a key; those after it return a whole field, key and value.
const fieldKey = (field: number, wire: 0 | 1 | 2 | 5): Buffer => varint(field * 8 + wire);
const bytesField = (field: number, bytes: Buffer): Buffer =>
  Buffer.concat([fieldKey(field, 2), varint(bytes.length), bytes]);
function doubleField(field: number, value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return Buffer.concat([fieldKey(field, 1), out]);
}
function floatField(field: number, value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return Buffer.concat([fieldKey(field, 5), out]);
}

/**
 * Returns the record of an Event with this time and step. `fields` are its other fields, encoded. A
 * step of 0 is left out, since readers take a missing step for 0.
 * @param time seconds since 1970
 */
const event = (time: number, step: number, fields: Buffer): Buffer =>
  tfRecord(
    Buffer.concat([
      doubleField(1, time),
      ...(step === 0 ? [] : [fieldKey(2, 0), varint(step)]),
      fields,
    ]),
  );

/**
 * Returns an event file, whose name must contain `tfevents` for TensorBoard to find it. Each tag is
 * a curve there. `started`: seconds since 1970.
 */
export function eventFile(events: readonly ScalarEvent[], started: number): Buffer {
  return Buffer.concat([
    event(started, 0, bytesField(3, Buffer.from('brain.Event:2'))),
    ...events.map(({ tag, step, value, time }) =>
      event(
        time,
        step,
        bytesField(
          5,
          bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), floatField(2, value)])),
        ),
      ),
    ),
  ]);
}

/** Returns a training's events, tagged `train/…` for steps and `evaluate/…` for evaluations. */
export function scalarEvents(
  { history, times }: Journal,
  curves: readonly CurvePoint[],
): ScalarEvent[] {
  const pointEvents = (part: string, points: readonly (StepRecord | CurvePoint)[]): ScalarEvent[] =>
    points.flatMap(({ step, ...values }) =>
      Object.entries(values).map(([name, value]) => ({
        tag: `${part}/${name}`,
        step,
        value,
        // Step 0, the evaluation before any training, has the time of step 1.
        time: times[Math.max(0, step - 1)] ?? 0,
      })),
    );
  return [...pointEvents('train', history), ...pointEvents('evaluate', curves)];
}
