/**
 * The pinned wheels of TensorFlow. Each is downloaded with `pip download`, checked against its
 * hash, and unpacked as far as it is needed.
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

/**
 * The TensorFlow that the binding is built against, pinned by hash. Its C libraries are the same in
 * the wheels of every Python version, so the wheel of one version, `PYTHON`, serves all.
 */
export const TENSORFLOW = '2.21.0';
const PYTHON = '3.11';

/** @typedef {{ name: string, version: string, sha256: string }} Wheel */

/**
 * Returns the wheels that a text lists.
 * @param {string} text a line for each wheel: name, version, SHA-256
 */
const pinned = (text) =>
  text
    .trim()
    .split('\n')
    .map((line) => {
      const [name, version, sha256] = line.trim().split(' ');
      return { name, version, sha256 };
    });

const CPU = {
  x64: pinned(`
    tensorflow-cpu ${TENSORFLOW} 2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c
  `),
  arm64: pinned(`
    tensorflow ${TENSORFLOW} 4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c
  `),
};

/** The wheel of TensorFlow for CUDA, and the packages that its extra `and-cuda` resolved to. */
const CUDA_X64 = pinned(`
  tensorflow ${TENSORFLOW} 9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124
  nvidia-cublas-cu12 12.9.3.13 d7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72
  nvidia-cuda-cupti-cu12 12.8.90 ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182
  nvidia-cuda-nvcc-cu12 12.9.86 5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0
  nvidia-cuda-nvrtc-cu12 12.9.86 210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4
  nvidia-cuda-runtime-cu12 12.9.79 25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3
  nvidia-cudnn-cu12 9.28.0.42 9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375
  nvidia-cufft-cu12 11.4.1.4 c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28
  nvidia-curand-cu12 10.3.10.19 49b274db4780d421bd2ccd362e1415c13887c53c214f0d4b761752b8f9f6aa1e
  nvidia-cusolver-cu12 11.7.5.82 15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88
  nvidia-cusparse-cu12 12.5.10.65 73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78
  nvidia-nccl-cu12 2.32.3 bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c
  nvidia-nvjitlink-cu12 12.9.86 e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9
`);

/** The platform tags that pip is given in place of the machine's own, newest first. */
const PLATFORMS = {
  x64: [
    'manylinux_2_27_x86_64',
    'manylinux_2_17_x86_64',
    'manylinux2014_x86_64',
    'manylinux_2_12_x86_64',
    'manylinux2010_x86_64',
  ],
  arm64: ['manylinux_2_27_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64'],
};

/**
 * Returns the wheels for a platform and an architecture, as Node names them; null if none are
 * known.
 * @param variant `cpu` or `cuda`
 */
export function wheelsFor(variant, platform, arch) {
  if (platform !== 'linux') return null;
  if (variant === 'cuda') return arch === 'x64' ? CUDA_X64 : null;
  return arch === 'x64' || arch === 'arm64' ? CPU[arch] : null;
}

/**
 * Whether this file of a wheel is unpacked: the C libraries, the binding's headers, the files of
 * CUDA, and licences are.
 */
function isNeeded(path) {
  if (path.endsWith('/')) return false;
  return (
    /^tensorflow\/(libtensorflow_(cc|framework)\.so\.2|THIRD_PARTY_NOTICES\.txt)$/.test(path) ||
    /^tensorflow\/include\/(tensorflow\/c|tensorflow\/core\/platform|xla\/tsl|tsl)\/./.test(path) ||
    /^nvidia\/[^/]+\/(lib|bin|nvvm)\/.+/.test(path) ||
    /^(tensorflow|nvidia)[^/]*\.dist-info\/.*licen[cs]e/i.test(path)
  );
}

async function sha256(file) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/** Returns the name of a wheel's file in a folder; undefined if it is not there. */
function findWheel(dir, wheel) {
  const prefix = `${wheel.name.replaceAll('-', '_')}-${wheel.version}-`;
  return existsSync(dir)
    ? readdirSync(dir).find((name) => name.startsWith(prefix) && name.endsWith('.whl'))
    : undefined;
}

/**
 * Returns the path of a wheel, which is downloaded with pip unless the folder `dir` has it. Throws
 * SetupFault if pip fails.
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
  const platforms = PLATFORMS[process.arch].flatMap((tag) => ['--platform', tag]);
  const code = await run(python, [
    ...['-m', 'pip', 'download', '--disable-pip-version-check', '--retries', '2'],
    ...['--no-cache-dir', '--no-deps', '--only-binary=:all:', '--require-hashes'],
    ...['--implementation', 'cp', '--python-version', PYTHON],
    ...['--abi', `cp${PYTHON.replace('.', '')}`, ...platforms],
    ...['--dest', dir, '--requirement', requirements],
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

/** The limits on what is unpacked of a wheel; the largest of the pinned ones holds 2 GB. */
const MOST_BYTES = 16 * 2 ** 30;
const MOST_FILES = 100_000;

const damagedFault = (message) => new SetupFault(message, 'npm run setup');

/**
 * Unpacks the files that `isNeeded` accepts. Throws SetupFault if the wheel exceeds the limits or
 * has a file outside the folder. yauzl checks that no entry exceeds its announced size.
 */
async function unpack(archive, dir) {
  let bytes = 0,
    files = 0;
  const zip = await yauzl.openPromise(archive, { lazyEntries: true });
  for await (const entry of zip.eachEntry()) {
    if (!isNeeded(entry.fileName)) continue;
    files++;
    bytes += entry.uncompressedSize;
    if (bytes > MOST_BYTES || files > MOST_FILES)
      throw damagedFault(`a wheel holds more than ${MOST_FILES} files, or 16 GB of them`);
    const target = joinInside(dir, entry.fileName, 'a file of a wheel', damagedFault);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    // The upper half of the attributes is the Unix mode; ptxas must stay executable.
    const mode = (entry.externalFileAttributes >>> 16) & 0o111 ? 0o755 : 0o644;
    rmSync(target, { force: true });
    await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(target, { mode }));
  }
}

/**
 * Downloads the wheels and unpacks what is needed of them into `dir`, except wheels that an earlier
 * call has unpacked there.
 */
export async function installWheels(python, wheels, { dir, downloads, say }) {
  for (const [index, wheel] of wheels.entries()) {
    const mark = join(dir, '.unpacked', `${wheel.name}-${wheel.sha256}`);
    if (existsSync(mark)) continue;
    const count = wheels.length > 1 ? ` (${index + 1} of ${wheels.length})` : '';
    say(`downloading ${wheel.name} ${wheel.version} with pip${count}`);
    const archive = await download(python, wheel, downloads);
    say(`unpacking the libraries and headers of ${wheel.name}`);
    await unpack(archive, dir);
    mkdirSync(dirname(mark), { recursive: true, mode: 0o755 });
    writeFileSync(mark, '');
    rmSync(archive);
  }
}
