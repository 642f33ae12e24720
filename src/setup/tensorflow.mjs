/** Installs the compute backend: TensorFlow's C libraries, the compiled binding, and a stamp. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makePrivateFolder } from '../base/untrusted/paths.mjs';
import {
  checkTools,
  compileBinding,
  fusedVersion,
  NAPI,
  TFJS_DIR,
  TFJS_PACKAGE,
} from './binding.mjs';
import { sha256 } from './closure.mjs';
import { replaceFile } from './current-build.mjs';
import { withLock } from './lock.mjs';
import { cacheDir } from './paths.mjs';
import { firstWorking, run, SetupFault, tail } from './run.mjs';
import { installWheels, TENSORFLOW, wheelsFor } from './wheels.mjs';

/**
 * What set-up has installed, as recorded in `lib/dosimeter.json` of tfjs-node-gpu, which
 * `src/tensor` reads. `tensorflow` is null if TensorFlow could not be installed: `reason` says why,
 * and `remedy` is the command that helps.
 * @typedef {{ format: 1, recipe: string, tensorflow: string | null,
 *   variant: 'cpu' | 'cuda' | 'own', libraries: string | null, wheels: readonly string[],
 *   fused: string | null, tfjs: string, napi: number, node: string, platform: string, arch: string,
 *   reason?: string, remedy?: string }} Stamp `fused`: the version of the fused operations, null
 *   where TensorFlow may use a GPU, since they compute on CPUs only
 */

const STAMP = join(TFJS_DIR, 'lib', 'dosimeter.json');
const BINDING = join(TFJS_DIR, 'lib', `napi-v${NAPI}`, 'tfjs_binding.node');
/**
 * A link to the folder of the libraries. The binding looks for them here (its RPATH), so that one
 * binary serves any cache folder.
 */
const LIBRARIES_LINK = join(TFJS_DIR, 'deps', 'lib');

/**
 * Must be raised when the way of building the binding changes, so that old bindings are built
 * again.
 */
const RECIPE = 5;

/** @returns {Stamp | null} null if there is none that can be read */
function readStamp() {
  if (!existsSync(STAMP)) return null;
  try {
    return JSON.parse(readFileSync(STAMP, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Whether this machine has an NVIDIA GPU. Finds out without starting a process. */
function hasNvidiaGpu() {
  if (process.platform !== 'linux') return false;
  return (
    readdirSync('/dev').some((name) => /^nvidia\d+$/.test(name)) ||
    existsSync('/usr/lib/wsl/lib/libcuda.so.1')
  );
}

/**
 * Returns the paths of the headers (a folder) and libraries of a TensorFlow that the user has.
 * Throws if there is none.
 * @param path `site-packages/tensorflow`, or a folder with `include/` and `lib/`
 */
function ownTensorflow(path) {
  for (const root of [path, join(path, 'tensorflow')]) {
    for (const libraries of [root, join(root, 'lib')]) {
      const cc = ['libtensorflow_cc.so.2', 'libtensorflow.so.2']
        .map((name) => join(libraries, name))
        .find(existsSync);
      const framework = join(libraries, 'libtensorflow_framework.so.2');
      const include = join(root, 'include');
      if (
        cc !== undefined &&
        existsSync(framework) &&
        existsSync(join(include, 'tensorflow', 'c', 'c_api.h'))
      )
        return { include, cc, framework };
    }
  }
  throw new Error(
    `${path} holds no TensorFlow: expected libtensorflow_cc.so.2 (or libtensorflow.so.2), ` +
      'libtensorflow_framework.so.2 and include/tensorflow/c/c_api.h',
  );
}

/**
 * Returns which TensorFlow to install: the one that is asked for; if none is, the user's own if it
 * was installed last; otherwise the wheels for this machine.
 * @param asked `cpu`, `cuda`, `wheel` (the wheels for this machine) or the path of the user's own
 */
function chooseVariant(asked, stamp) {
  if (asked === 'cpu' || asked === 'cuda') return { variant: asked };
  if (asked !== undefined && asked !== 'wheel') return { variant: 'own', path: resolve(asked) };
  if (
    asked === undefined &&
    stamp?.variant === 'own' &&
    stamp.libraries !== null &&
    existsSync(stamp.libraries)
  ) {
    return { variant: 'own', path: stamp.libraries.replace(/\/lib$/, '') };
  }
  return {
    variant:
      hasNvidiaGpu() && wheelsFor('cuda', process.platform, process.arch) !== null ? 'cuda' : 'cpu',
  };
}

function writeStamp(stamp) {
  mkdirSync(dirname(STAMP), { recursive: true });
  replaceFile(STAMP, `${JSON.stringify(stamp, null, 2)}\n`);
}

/**
 * Copies the binding into tfjs-node-gpu and links the folder of the libraries there, each in place
 * of an earlier one.
 */
function installBinding(binary, libraries) {
  mkdirSync(dirname(BINDING), { recursive: true });
  mkdirSync(dirname(LIBRARIES_LINK), { recursive: true });
  copyFileSync(binary, `${BINDING}.tmp`);
  renameSync(`${BINDING}.tmp`, BINDING);
  rmSync(`${LIBRARIES_LINK}.tmp`, { force: true });
  symlinkSync(libraries, `${LIBRARIES_LINK}.tmp`);
  rmSync(LIBRARIES_LINK, { recursive: true, force: true });
  renameSync(`${LIBRARIES_LINK}.tmp`, LIBRARIES_LINK);
}

/**
 * Multiplies two matrices with the installed binding, in another process. Returns TensorFlow's
 * release. Throws SetupFault if that fails.
 */
async function checkInstalled(log) {
  const script = fileURLToPath(new URL('./check-tensorflow.mjs', import.meta.url));
  if (
    (await run(process.execPath, [script], {
      log,
      env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '2' },
    })) !== 0
  ) {
    throw new SetupFault(
      `TensorFlow was built but does not run here (${log})`,
      'npx dosimeter setup',
      tail(log),
    );
  }
  return /^TensorFlow (\S+)$/m.exec(tail(log))?.[1] ?? 'of an unknown release';
}

/**
 * Returns a digest of what decides how the binding is built. If the digest changes, the binding
 * must be built again.
 */
const recipeDigest = (want, wheels, own) =>
  sha256(
    JSON.stringify([
      ...[RECIPE, TFJS_PACKAGE.version, NAPI, process.platform, process.arch, want.variant],
      ...[wheels?.map((wheel) => wheel.sha256), own, fusedVersion()],
    ]),
  ).slice(0, 16);

/**
 * Installs the backend, unless it is installed. Returns the stamp, which says why if that failed.
 */
export async function setUpTensorflow({ tensorflow: asked, say }) {
  const stamp = readStamp();
  const want = chooseVariant(asked, stamp);
  const wheels =
    want.variant === 'own' ? [] : wheelsFor(want.variant, process.platform, process.arch);
  const own = want.variant === 'own' ? ownTensorflow(want.path) : null;
  const recipe = recipeDigest(want, wheels, own);
  // The user's own TensorFlow is always checked, because another release may have replaced it.
  if (
    own === null &&
    stamp?.recipe === recipe &&
    stamp.tensorflow !== null &&
    existsSync(BINDING) &&
    existsSync(join(LIBRARIES_LINK, 'libtensorflow_framework.so.2'))
  ) {
    return stamp;
  }
  const facts = {
    format: 1,
    recipe,
    variant: want.variant,
    fused: want.variant === 'cpu' ? fusedVersion() : null,
    tfjs: TFJS_PACKAGE.version,
    napi: NAPI,
    node: process.version,
    platform: process.platform,
    arch: process.arch,
  };
  const cache = cacheDir();
  mkdirSync(join(cache, 'tensorflow'), { recursive: true, mode: 0o755 }); // checked below
  return withLock(
    join(cache, 'tensorflow', 'setup.lock'),
    async () => {
      let made;
      try {
        const installed = await installTensorflow({ want, wheels, own, recipe, cache, say });
        made = { ...facts, ...installed };
      } catch (error) {
        if (!(error instanceof SetupFault)) throw error;
        if (error.detail !== undefined) say(error.detail);
        rmSync(BINDING, { force: true });
        const { message: reason, remedy } = error;
        made = { ...facts, tensorflow: null, libraries: null, wheels: [], reason, remedy };
      }
      writeStamp(made);
      return made;
    },
    (pid) => say(`waiting for another set-up (process ${pid})`),
  );
}

/**
 * Installs the wheels and the binding. Wheels are downloaded, and the binding is compiled, only if
 * the cache lacks them.
 * @throws {SetupFault}
 */
async function installTensorflow({ want, wheels, own, recipe, cache, say }) {
  if (wheels === null)
    throw new SetupFault(
      `no TensorFlow wheel with C libraries is known for ${process.platform} ${process.arch}`,
      'npx dosimeter setup --tensorflow PATH',
    );
  const folder = (...parts) =>
    makePrivateFolder(
      cache,
      ['tensorflow', ...parts],
      (message, hint) => new SetupFault(message, hint),
    );
  const name = want.variant === 'own' ? 'own' : `${TENSORFLOW}-${want.variant}-${process.arch}`;
  const dir = folder(name);
  const packages = folder(name, 'site-packages');
  const downloads = folder('downloads');
  const log = folder('logs');
  const binary = join(dir, `tfjs_binding-${recipe}.node`);
  if (!existsSync(binary)) checkTools();
  if (own === null) {
    const python = firstWorking(['python3', 'python'], ['-m', 'pip', '--version']);
    if (python === null)
      throw new SetupFault(
        'no Python with pip was found to download TensorFlow',
        'apt-get install -y python3-pip && npx dosimeter setup',
      );
    await installWheels(python, wheels, { dir: packages, downloads, say });
  }
  const libraries = own === null ? join(packages, 'tensorflow') : dirname(own.cc);
  if (!existsSync(binary)) {
    await compileBinding(
      own ?? {
        include: join(libraries, 'include'),
        cc: join(libraries, 'libtensorflow_cc.so.2'),
        framework: join(libraries, 'libtensorflow_framework.so.2'),
      },
      {
        buildDir: join(cache, 'tensorflow', 'build'),
        target: binary,
        log: join(log, 'node-gyp.log'),
        say,
      },
    );
  }
  say('installing the binding and multiplying two matrices with it');
  installBinding(binary, libraries);
  return {
    libraries,
    tensorflow: await checkInstalled(join(log, 'check.log')),
    wheels: wheels.map((wheel) => `${wheel.name} ${wheel.version} sha256:${wheel.sha256}`),
  };
}
