/**
 * Runs a script with the code that V8 compiled for it in an earlier process. Compiling the program
 * takes longer than most commands.
 */
import { isAscii } from 'node:buffer';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

/** The bytes of a SHA-256, and of the processor time after it. */
const DIGEST = 32,
  WORK = 8;

/**
 * A process that goes on writes the code after this time (ms), because V8 drops the code of
 * functions that have not been called for long.
 */
const WRITE_AFTER = 2000;

/**
 * A process that has worked this many times as long as the one that wrote the code has called other
 * functions too.
 */
const MORE = 1.5;

/**
 * V8 optimises a function once it has run so many bytes of its bytecode, and collects young garbage
 * whenever the program waits. Most commands end before either has paid for itself. These are flags
 * of Node 20's V8; later releases have others.
 */
const USUAL = ['--interrupt-budget=67584', '--minor-gc-task'],
  AT_FIRST = ['--interrupt-budget=270336', '--no-minor-gc-task'];
const hasFlags = process.versions.v8.startsWith('11.3.');

/** After this time (ms) a process goes on long enough for optimised code. */
const SHORT = 400;

/** @param {readonly string[]} flags */
function setFlags(flags) {
  if (hasFlags) flags.forEach((flag) => setFlagsFromString(flag));
}

/**
 * Makes V8 optimise and collect less for a while. Called after most code has been loaded, since V8
 * takes kept code only under the flags that it was made under: ours, and that of Node's own
 * modules.
 */
export function optimiseLater() {
  setFlags(AT_FIRST);
  setTimeout(() => setFlags(USUAL), SHORT).unref();
}

/**
 * Returns the seal of what stands behind it in the file. It covers the source too, because V8
 * compares the source's length only, and would run the old code of a source that was edited.
 * @param {Buffer} source @param {Uint8Array} content
 */
const sealOf = (source, content) => createHash('sha256').update(source).update(content).digest();

/**
 * Returns the compiled code, and the processor time (ms) after which it was written. Returns null
 * if there is none, or if it is damaged or of another source.
 * @param {string} file @param {Buffer} source
 */
function readCode(file, source) {
  let sealed;
  try {
    sealed = readFileSync(file);
  } catch {
    return null; // it is compiled again
  }
  const content = sealed.subarray(DIGEST);
  if (content.length < WORK || !sealOf(source, content).equals(sealed.subarray(0, DIGEST)))
    return null;
  return { code: content.subarray(WORK), work: content.readDoubleLE() };
}

/**
 * Writes compiled code for later processes, unless the disk refuses it.
 * @param {string} file @param {Buffer} source @param {Buffer} code
 * @param {number} work the processor time of this process so far (ms)
 */
function writeCode(file, source, code, work) {
  const head = Buffer.alloc(WORK);
  head.writeDoubleLE(work);
  const content = Buffer.concat([head, code]);
  const draft = `${file}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(draft, Buffer.concat([sealOf(source, content), content]));
    renameSync(draft, file);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === undefined) throw error;
    rmSync(draft, { force: true });
  }
}

/** Returns the processor time of this process so far, in ms. */
function workSoFar() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Evaluates a script and returns its completion value. The code of all functions that this process
 * calls in its first seconds is written for later ones, if there is no code, if V8 refuses it (it
 * is of another version or of other flags), or if this process does much more than the one that
 * wrote it.
 * @param {string} file the script, which is read fastest if it is in ASCII
 * @param {string} codeFile where the compiled code is kept
 */
export function runCompiled(file, codeFile) {
  const source = readFileSync(file);
  const known = readCode(codeFile, source);
  const script = new Script(isAscii(source) ? source.latin1Slice() : source.utf8Slice(), {
    filename: file,
    ...(known === null ? {} : { cachedData: known.code }),
  });
  const enough = script.cachedDataRejected === false && known !== null ? known.work * MORE : 0;
  const write = () => {
    clearTimeout(timer);
    process.off('exit', write);
    const work = workSoFar();
    if (work <= enough) return;
    setFlags(USUAL);
    writeCode(codeFile, source, script.createCachedData(), work);
  };
  const timer = setTimeout(write, WRITE_AFTER).unref();
  process.once('exit', write);
  return script.runInThisContext();
}
