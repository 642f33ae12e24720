/**
 * Estimates the quickstart's time on WebAssembly from how fast this machine multiplies matrices
 * there.
 */
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

const load = createRequire(import.meta.url);

/**
 * The quickstart's most frequent product: about 350 tokens through a layer of 384 × 384 weights of
 * MiniLM.
 */
const [TOKENS, WIDTH] = [352, 384];
/** How long the measurement takes. */
const SECONDS = 1;

/**
 * The processor time of the whole quickstart on WebAssembly, counted in products of that size. This
 * is an estimate: a training step there takes about 20 times as long as with TensorFlow
 * (bench/README.md, The quickstart).
 */
const PRODUCTS = 1_500_000;

/** Measures, in this process, how many seconds one product takes. */
async function secondsPerProduct() {
  const tf = load('@tensorflow/tfjs-core');
  tf.env().set('PROD', true);
  const backend = load('@tensorflow/tfjs-backend-wasm');
  backend.setWasmPaths(
    `${join(dirname(load.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'wasm-out')}/`,
  );
  await tf.setBackend('wasm');
  const [left, right] = [tf.ones([TOKENS, WIDTH]), tf.ones([WIDTH, WIDTH])];
  const multiply = async () => {
    const product = tf.matMul(left, right);
    await product.data();
    product.dispose();
  };
  await multiply();
  const started = performance.now();
  let products = 0;
  for (; performance.now() - started < SECONDS * 1000; products++) await multiply();
  return (performance.now() - started) / 1000 / products;
}

/**
 * Returns the minutes that the whole quickstart takes on WebAssembly if each processor runs one
 * stage at a time.
 */
export async function wasmMinutes() {
  return ((await secondsPerProduct()) * PRODUCTS) / availableParallelism() / 60;
}
