/** A reader that the fuzzer tries, and helpers to write the valid inputs that it mutates. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Reader {
  readonly name: string;
  /**
   * How many times slower than the other readers this one is. It gets that many times fewer inputs.
   */
  readonly slow?: number;
  readonly seeds: readonly Uint8Array[];
  /**
   * Returns a value or throws a UserFault. Any other error is a defect.
   * @param dir a folder for this reader alone
   */
  read(input: Uint8Array, dir: string): unknown;
}

export const golden = (name: string): Uint8Array =>
  Uint8Array.from(readFileSync(fileURLToPath(new URL(`../golden/${name}`, import.meta.url))));
export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
export const asText = (input: Uint8Array): string => new TextDecoder().decode(input);
export const json = (value: unknown): string => JSON.stringify(value);
export const lines = (...values: readonly unknown[]): string =>
  values.map((value) => `${json(value)}\n`).join('');

/** Returns valid inputs that are text. */
export const texts = (...inputs: readonly string[]): Uint8Array[] => inputs.map(bytesOf);

/** Writes the input to a file, for readers that take a path. */
export function file(dir: string, name: string, input: Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, input);
  return path;
}
