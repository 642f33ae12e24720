/**
 * The sources of the fused operations under the address and undefined-behaviour sanitizers, without
 * TensorFlow: kernels.cc calls each operation, c-api.h stands for what they call.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';

const run = promisify(execFile);
const inClone = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const COMPILER = process.env['CXX'] ?? 'g++';
const BINDING = inClone('src/tensor/native'),
  HARNESS = inClone('test/sanitized');

const SOURCES = [
  join(HARNESS, 'kernels.cc'),
  ...['fused', 'fused-attention', 'fused-products', 'fused-threads'].map((name) =>
    join(BINDING, `${name}.cc`),
  ),
];
/**
 * What those include besides their own headers; c-api.h, included first, takes the place of each.
 */
const HEADERS = [
  ...['c_api', 'kernels', 'ops'].map((name) => `tensorflow/c/${name}.h`),
  'tfjs_backend.h',
  'utils.h',
];
/** Without two checks of addresses, which take long and find nothing that the first does not. */
const SANITIZERS = [
  '-fsanitize=address,undefined',
  '-fno-sanitize=null,object-size',
  '-fno-sanitize-recover=all',
];

/** Compiles the program without optimisation, which takes half the time. */
async function compileInto(dir: string): Promise<string> {
  for (const header of HEADERS) {
    mkdirSync(dirname(join(dir, header)), { recursive: true });
    writeFileSync(join(dir, header), '');
  }
  const flags = ['-std=gnu++17', '-w', '-g1', ...SANITIZERS, '-pthread', '-I', dir, '-I', BINDING],
    objects = SOURCES.map((_, i) => join(dir, `${i}.o`));
  await Promise.all(
    SOURCES.map((source, i) =>
      run(COMPILER, [
        ...[...flags, '-include', join(HARNESS, 'c-api.h')],
        ...['-c', source, '-o', objects[i] ?? ''],
      ]),
    ),
  );
  const program = join(dir, 'kernels');
  await run(COMPILER, [...SANITIZERS, '-pthread', ...objects, '-o', program]);
  return program;
}

test('no fused operation reads, writes or fetches beyond its tensors, or overflows', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'dosimeter-sanitized-'));
  const program = await compileInto(dir);
  // Fewer threads than blocks of rows, and more.
  await Promise.all(
    ['1', '3'].map((TF_NUM_INTRAOP_THREADS) =>
      run(program, { env: { ...process.env, TF_NUM_INTRAOP_THREADS } }),
    ),
  );
});

test.run();
