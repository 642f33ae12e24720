/**
 * Compiles the folder `binding/` of @tensorflow/tfjs-node-gpu against a given TensorFlow. The
 * package's own install script would fetch a libtensorflow of 2022 that supports no current GPU.
 * The C API that the binding calls has not changed since, so the package's sources build as they
 * are.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sha256 } from './closure.mjs';
import { firstWorking, run, SetupFault, tail } from './run.mjs';

/**
 * The binding's Node-API version. Every Node that supports this version can load the same build.
 */
export const NAPI = 8;

const additionPath = (name) => fileURLToPath(new URL(`../tensor/native/${name}`, import.meta.url));

/** The sources of the fused operations. What the operations compute depends on no other source. */
const FUSED = [
  'attention-kernels.inc',
  'fused.cc',
  'fused.h',
  'fused-attention.cc',
  'fused-kernels.inc',
  'fused-products.cc',
  'fused-threads.cc',
  'instruction-sets.inc',
  'product-kernels.inc',
  'vectors.inc',
].map(additionPath);
const ADDITIONS = [
  ...['block-signals.cc', 'graph-functions.cc', 'signals-blocked.h'].map(additionPath),
  ...FUSED,
];

/** Returns the version of the fused operations: the beginning of their sources' digest. */
export const fusedVersion = () =>
  sha256(Buffer.concat(FUSED.map((file) => readFileSync(file)))).slice(0, 8);

/** Changes to the package's gyp file: a text that occurs once, and what replaces it. */
const GYP_CHANGES = [
  [
    "'binding/tfjs_binding.cc'",
    ['tfjs_binding.cc', ...ADDITIONS.map((file) => basename(file))]
      .filter((name) => name.endsWith('.cc'))
      .map((name) => `'binding/${name}'`)
      .join(', '),
  ],
  // Without this flag, a square root must set errno, so loops of square roots are not vectorised.
  [
    "'target_name' : 'tfjs_binding',",
    "'target_name' : 'tfjs_binding', 'cflags': ['-fno-math-errno'],",
  ],
  ["'-ltensorflow',", "'-ltensorflow', '-Wl,--wrap=TFE_NewContext', '-Wl,--wrap=TFE_Execute',"],
];

/** Insertions into the package's sources: `insert` goes before `before`, which occurs once. */
const INSERTIONS = [
  {
    file: 'binding/tfjs_backend.h',
    before: ' private:\n  TFJSBackend(napi_env env);',
    insert:
      '  napi_value AddFunction(napi_env env, napi_value name, napi_value operations,\n' +
      '                         napi_value outputs);\n' +
      '  napi_value RemoveFunction(napi_env env, napi_value name);\n\n',
  },
  {
    file: 'binding/tfjs_backend.h',
    before: '}  // namespace tfnodejs',
    insert:
      'void DefineGraphFunctions(napi_env env, napi_value exports);\n' +
      'void DefineFusedOperations(napi_env env, napi_value exports);\n\n',
  },
  {
    file: 'binding/tfjs_binding.cc',
    before: '  // Export TF property types to JS',
    insert: '  DefineGraphFunctions(env, exports);\n  DefineFusedOperations(env, exports);\n\n',
  },
];

const require = createRequire(import.meta.url);
export const TFJS_DIR = dirname(require.resolve('@tensorflow/tfjs-node-gpu/package.json'));
export const TFJS_PACKAGE = JSON.parse(readFileSync(join(TFJS_DIR, 'package.json'), 'utf8'));

/** Returns the folder in which `include/node` has Node's headers. Throws if they are missing. */
function headersPrefix() {
  const bin = dirname(realpathSync(process.execPath));
  const prefix = dirname(bin);
  // npm's package `node` has the binary, and the headers in a package that it installs.
  const inner = join(prefix, 'node_modules', `node-${process.platform}-${process.arch}`);
  const found = [prefix, inner].find((dir) => existsSync(join(dir, 'include/node/node_api.h')));
  if (found !== undefined) return found;
  throw new SetupFault(
    `the headers of Node ${process.version} are missing (no include/node beside ${bin})`,
    'install a Node that has its headers (Debian: apt-get install -y libnode-dev), ' +
      'then: npx dosimeter setup',
  );
}

/** Checks, before anything is downloaded, that this machine can compile. @throws {SetupFault} */
export function checkTools() {
  headersPrefix();
  for (const [what, commands, packages] of [
    ['Python', ['python3', 'python'], 'python3'],
    ['make', ['make', 'gmake'], 'make'],
    ['C++ compiler', process.env.CXX ? [process.env.CXX] : ['g++', 'c++'], 'g++'],
  ]) {
    if (firstWorking(commands, ['--version']) === null) {
      throw new SetupFault(
        `no ${what} was found (looked for ${commands.join(', ')})`,
        `apt-get install -y ${packages} && npx dosimeter setup`,
      );
    }
  }
}

/**
 * Adds our sources to a copy of the package's. Throws if the package's sources are not what
 * INSERTIONS expects.
 */
function addSources(buildDir) {
  for (const file of ADDITIONS) cpSync(file, join(buildDir, 'binding', basename(file)));
  for (const { file, before, insert } of INSERTIONS) {
    const path = join(buildDir, file),
      parts = readFileSync(path, 'utf8').split(before);
    if (parts.length !== 2)
      throw new Error(`${file} of ${TFJS_PACKAGE.version} does not hold "${before}" once`);
    writeFileSync(path, parts.join(insert + before));
  }
}

/** Returns the package's gyp file with our changes. Throws if GYP_CHANGES do not fit it. */
function gypFile() {
  // Relative paths: make would split absolute ones at a space in the cache folder's name.
  let text = readFileSync(join(TFJS_DIR, 'binding.gyp'), 'utf8').replaceAll(
    '<(module_root_dir)/',
    '',
  );
  for (const [from, to] of GYP_CHANGES) {
    if (text.split(from).length !== 2)
      throw new Error(`binding.gyp of ${TFJS_PACKAGE.version} does not hold ${from} once`);
    text = text.replace(from, to);
  }
  return text;
}

/**
 * Compiles the binding in the folder `buildDir`, which is emptied before and deleted after, and
 * moves it to the path `target`.
 * @param tensorflow the paths of TensorFlow's headers (`include`) and libraries (`cc`, `framework`)
 * @param log the file for node-gyp's output; `say` prints a line
 * @throws {SetupFault}
 */
export async function compileBinding(tensorflow, { buildDir, target, log, say }) {
  const nodedir = headersPrefix();
  say(`compiling the TensorFlow binding with node-gyp (log: ${log})`);
  rmSync(buildDir, { recursive: true, force: true });
  mkdirSync(buildDir, { mode: 0o700 }); // npm or the umask may let others write files in it
  mkdirSync(join(buildDir, 'deps', 'lib'), { recursive: true });
  for (const name of ['binding', 'package.json'])
    cpSync(join(TFJS_DIR, name), join(buildDir, name), { recursive: true });
  addSources(buildDir);
  writeFileSync(join(buildDir, 'binding.gyp'), gypFile());
  symlinkSync(tensorflow.include, join(buildDir, 'deps', 'include'));
  // The gyp file links -ltensorflow; the wheel calls that library libtensorflow_cc.
  symlinkSync(tensorflow.cc, join(buildDir, 'deps', 'lib', 'libtensorflow.so'));
  symlinkSync(tensorflow.framework, join(buildDir, 'deps', 'lib', 'libtensorflow_framework.so'));
  const gyp = require.resolve('node-gyp/bin/node-gyp.js');
  const defines = [
    '-Dmodule_name=tfjs_binding',
    '-Dmodule_path=out',
    `-Dnapi_build_version=${NAPI}`,
  ];
  const built = join(buildDir, 'out', 'tfjs_binding.node');
  for (const args of [
    ['configure', '--nodedir', nodedir, '--', ...defines],
    ['build', '--jobs', '2'],
  ]) {
    if ((await run(process.execPath, [gyp, ...args], { cwd: buildDir, log })) !== 0) {
      throw new SetupFault(
        `the TensorFlow binding did not compile (${log})`,
        'npx dosimeter setup',
        tail(log),
      );
    }
  }
  renameSync(built, target);
  rmSync(buildDir, { recursive: true, force: true });
}
