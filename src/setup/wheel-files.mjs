/**
 * Downloads wheels with `pip download`, checks them against their pinned hash, and unpacks what is
 * needed.
 */
import { createHash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import yauzl from 'yauzl';
import { joinInside } from '../base/untrusted/paths.mjs';
import { run, SetupFault } from './run.mjs';
import { isNeeded, PLATFORMS, PYTHON } from './wheels.mjs';

/** @param {string} file */
async function sha256(file) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/** @param {string} dir @param {import('./wheels.mjs').Wheel} wheel */
function findWheel(dir, wheel) {
  const prefix = `${wheel.name.replaceAll('-', '_')}-${wheel.version}-`;
  return existsSync(dir)
    ? readdirSync(dir).find((name) => name.startsWith(prefix) && name.endsWith('.whl'))
    : undefined;
}

/**
 * @param {string} python a command with pip
 * @param {import('./wheels.mjs').Wheel} wheel
 * @param {string} dir the folder that it is downloaded to
 * @returns {Promise<string>} the wheel's path
 */
async function download(python, wheel, dir) {
  const kept = findWheel(dir, wheel);
  if (kept !== undefined) {
    // An interrupted set-up may have left a partial file.
    if ((await sha256(join(dir, kept))) === wheel.sha256) return join(dir, kept);
    rmSync(join(dir, kept));
  }
  const requirements = join(dir, `${wheel.name}.txt`);
  writeFileSync(requirements, `${wheel.name}==${wheel.version} --hash=sha256:${wheel.sha256}\n`);
  const platforms = PLATFORMS[/** @type {keyof typeof PLATFORMS} */ (process.arch)].flatMap(
    (tag) => ['--platform', tag],
  );
  const code = await run(python, [
    '-m',
    'pip',
    'download',
    '--disable-pip-version-check',
    '--retries',
    '2',
    '--no-cache-dir',
    '--no-deps',
    '--only-binary=:all:',
    '--require-hashes',
    '--python-version',
    PYTHON,
    '--implementation',
    'cp',
    '--abi',
    `cp${PYTHON.replace('.', '')}`,
    ...platforms,
    '--dest',
    dir,
    '--requirement',
    requirements,
  ]);
  rmSync(requirements);
  const name = findWheel(dir, wheel);
  if (code !== 0 || name === undefined)
    throw new SetupFault(
      `pip could not download ${wheel.name} ${wheel.version} (its message is above)`,
      'npx dosimeter setup',
    );
  return join(dir, name);
}

/** @param {string} archive @returns {Promise<import('yauzl').ZipFile>} */
const openZip = (archive) =>
  new Promise((resolve, reject) => {
    yauzl.open(archive, { lazyEntries: true, autoClose: false }, (error, zip) =>
      error ? reject(error) : resolve(zip),
    );
  });

/** The limits of a wheel. The largest one unpacks to 2 GB. */
const MOST_BYTES = 16 * 2 ** 30;
const MOST_FILES = 100_000;

/** @param {string} message */
const damaged = (message) => new SetupFault(message, 'npm run setup');

/**
 * Unpacks the files that `isNeeded` accepts. yauzl checks that no entry exceeds its announced size.
 * @param {string} archive
 * @param {string} dir
 */
async function unpack(archive, dir) {
  const zip = await openZip(archive);
  try {
    /** @type {import('yauzl').Entry[]} */
    const entries = [];
    let bytes = 0;
    await new Promise((resolve, reject) => {
      zip.on('entry', (entry) => {
        if (isNeeded(entry.fileName)) entries.push(entry);
        bytes += entry.uncompressedSize;
        if (bytes > MOST_BYTES || entries.length > MOST_FILES)
          reject(damaged(`a wheel holds more than ${MOST_FILES} files, or 16 GB of them`));
        else zip.readEntry();
      });
      zip.on('end', () => resolve(undefined));
      zip.on('error', reject);
      zip.readEntry();
    });
    for (const entry of entries) {
      const target = joinInside(dir, entry.fileName, 'a file of a wheel', damaged);
      mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
      const stream = await new Promise((resolve, reject) => {
        zip.openReadStream(entry, (error, readable) => (error ? reject(error) : resolve(readable)));
      });
      // The upper half of the attributes is the Unix mode; ptxas must stay executable.
      const mode = (entry.externalFileAttributes >>> 16) & 0o111 ? 0o755 : 0o644;
      rmSync(target, { force: true });
      await pipeline(stream, createWriteStream(target, { mode }));
    }
  } finally {
    zip.close();
  }
}

/**
 * Unpacks the needed files of each wheel into `dir`. Wheels that an earlier, interrupted call
 * finished are kept.
 * @param {string} python
 * @param {readonly import('./wheels.mjs').Wheel[]} wheels
 * @param {{ dir: string, downloads: string, say: (line: string) => void }} options
 */
export async function installWheels(python, wheels, { dir, downloads, say }) {
  for (const [index, wheel] of wheels.entries()) {
    const done = join(dir, '.unpacked', `${wheel.name}-${wheel.sha256}`);
    if (existsSync(done)) continue;
    const count = wheels.length > 1 ? ` (${index + 1} of ${wheels.length})` : '';
    say(`downloading ${wheel.name} ${wheel.version} with pip${count}`);
    const archive = await download(python, wheel, downloads);
    say(`unpacking the libraries and headers of ${wheel.name}`);
    await unpack(archive, dir);
    mkdirSync(dirname(done), { recursive: true, mode: 0o755 });
    writeFileSync(done, '');
    rmSync(archive);
  }
}
