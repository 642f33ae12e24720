/**
 * Runs a script with the code that V8 compiled for it in an earlier process. Compiling the program
 * takes longer than most commands.
 */
import { isAscii } from 'node:buffer';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

/** The length of a SHA-256, in bytes. */
const DIGEST = 32;

/**
 * Returns the seal of compiled code. It covers the source too, because V8 compares the source's
 * length only, and would run the old code of a source that was edited.
 * @param {Buffer} source @param {Uint8Array} code
 */
const sealOf = (source, code) => createHash('sha256').update(source).update(code).digest();

/**
 * Returns the compiled code, or undefined if there is none, or if it is damaged or of another
 * source.
 * @param {string} file @param {Buffer} source
 */
function readCode(file, source) {
  let content;
  try {
    content = readFileSync(file);
  } catch {
    return undefined; // it is compiled again
  }
  const code = content.subarray(DIGEST);
  return sealOf(source, code).equals(content.subarray(0, DIGEST)) ? code : undefined;
}

/**
 * Writes compiled code for later processes, unless the disk refuses it.
 * @param {string} file @param {Buffer} source @param {Buffer} code
 */
function writeCode(file, source, code) {
  const draft = `${file}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(draft, Buffer.concat([sealOf(source, code), code]));
    renameSync(draft, file);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === undefined) throw error;
    rmSync(draft, { force: true });
  }
}

/**
 * Evaluates a script and returns its completion value. What this process compiles of it is written
 * when the process ends, unless there was compiled code that V8 accepts: it refuses code of another
 * version or with other flags.
 * @param {string} file the script, which is read fastest if it is in ASCII
 * @param {string} codeFile where the compiled code is kept
 */
export function runCompiled(file, codeFile) {
  const source = readFileSync(file);
  const cachedData = readCode(codeFile, source);
  const script = new Script(isAscii(source) ? source.latin1Slice() : source.utf8Slice(), {
    filename: file,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  if (script.cachedDataRejected !== false)
    process.once('exit', () => writeCode(codeFile, source, script.createCachedData()));
  return script.runInThisContext();
}
