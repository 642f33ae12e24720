/**
 * Files of any size, in pieces: one call to the system moves less than 2 GiB, and Node's readFile refuses a file beyond
 * that, which the state of a full fine-tuning of BERT-large is (303 M parameters with two moments each: 3.6 GB).
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/** Bytes of one call. */
const PIECE = 1 << 26;

/** The bytes of an array, without a copy. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += PIECE)
    yield bytes.subarray(start, Math.min(start + PIECE, bytes.byteLength));
}

/** Fills `into` with what stands from `position` on. Returns how many bytes there were: fewer where the file ends before. */
export async function readInto(
  file: FileHandle,
  into: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < into.byteLength) {
    const { bytesRead } = await file.read(
      into.subarray(done, Math.min(done + PIECE, into.byteLength)),
      { position: position + done },
    );
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Writes all of `bytes` where the file stands. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (const piece of pieces(bytes))
    for (let done = 0; done < piece.byteLength;)
      done += (await file.write(piece, done, piece.byteLength - done)).bytesWritten;
}

/** SHA-256 of a file's content, in hex. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Feeds `bytes` to a hash in pieces: one `update` takes less than 2 GiB. */
export function updateWith(hash: { update(bytes: Uint8Array): unknown }, bytes: Uint8Array): void {
  for (const piece of pieces(bytes)) hash.update(piece);
}
