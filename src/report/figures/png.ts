/**
 * Encodes indexed PNGs (ISO/IEC 15948). A heat map of 64² cells takes 4 kB as a PNG, and 500 kB as
 * 4,096 SVG rectangles.
 */
import { deflateSync } from 'node:zlib';

/** Red, green and blue, 0–255 each. */
export type Colour = readonly [number, number, number];

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** The CRC-32 of the PNG specification, Annex D (node:zlib has it only from 20.15). */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function chunk(type: string, body: Uint8Array): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const out = Buffer.alloc(8 + named.length);
  out.writeUInt32BE(body.length, 0);
  named.copy(out, 4);
  out.writeUInt32BE(crc32(named), 4 + named.length);
  return out;
}

/**
 * Encodes an image. Throws a RangeError if the sizes do not fit, or if there are too many colours.
 * @param pixels (height, width) indexes into `palette`, row by row
 * @param palette at most 256 colours
 */
export function encodePng(
  width: number,
  height: number,
  pixels: Uint8Array,
  palette: readonly Colour[],
): Buffer {
  if (pixels.length !== width * height)
    throw new RangeError(`${width} × ${height} pixels are not ${pixels.length}`);
  if (palette.length > 256)
    throw new RangeError(`a palette holds 256 colours, not ${palette.length}`);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8); // 8-bit indexes, palette, deflate, no filter choice, no interlace
  const lines = Buffer.alloc(height * (width + 1)); // each line starts with its filter: 0 is none
  for (let y = 0; y < height; y++)
    lines.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('PLTE', Uint8Array.from(palette.flat())),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
}
