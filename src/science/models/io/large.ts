/**
 * Reads, writes and hashes files in pieces, since a system call takes less than 2 GiB, and readFile
 * refuses larger files.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

const PIECE = 1 << 26; // bytes

/** Returns the bytes of an array without copying them. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Yields views of the bytes in order, of PIECE bytes each but the last. */
function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += PIECE)
    yield bytes.subarray(start, start + PIECE);
}

/** Reads from `position` until `into` is full or the file ends. Returns how many bytes it read. */
export async function readInto(
  file: FileHandle,
  into: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < into.byteLength) {
    const piece = into.subarray(done, done + PIECE);
    const { bytesRead } = await file.read(piece, { position: position + done });
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all of `bytes` at the file's current position. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (const piece of pieces(bytes))
    for (let done = 0; done < piece.byteLength;)
      done += (await file.write(piece, done, piece.byteLength - done)).bytesWritten;
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Feeds `bytes` to a hash in pieces, since one `update` takes less than 2 GiB. */
export function updateWith(hash: { update(bytes: Uint8Array): unknown }, bytes: Uint8Array): void {
  for (const piece of pieces(bytes)) hash.update(piece);
}
