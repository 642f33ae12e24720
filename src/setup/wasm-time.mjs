/** How long the quickstart takes on WebAssembly, from how fast this machine multiplies matrices there. */
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

const load = createRequire(import.meta.url);

/** MiniLM's commonest product in the quickstart: some 350 tokens through a layer of 384 by 384 weights. */
const [TOKENS, WIDTH] = [352, 384];
const SECONDS = 1;

/**
 * The processor time of the whole quickstart on WebAssembly, in products of that size. An estimate: a training step there
 * takes some 20 times as long as with TensorFlow (bench/README.md, The quickstart).
 */
const PRODUCTS = 1_500_000;

/** Seconds that one product takes here, measured for a second or so in this process. */
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

/** Minutes of the quickstart on WebAssembly here: each processor works on a stage of its own. */
export async function wasmMinutes() {
  return ((await secondsPerProduct()) * PRODUCTS) / availableParallelism() / 60;
}
