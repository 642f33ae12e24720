/**
 * Prints TensorFlow's release if TensorFlow loads and multiplies here; throws otherwise. Runs
 * before anything is built.
 */
import util from 'node:util';

// tfjs-node 4.22 calls a function that Node 24 has removed.
Object.assign(util, {
  isNullOrUndefined: (value) => value === null || value === undefined,
});
const tf = await import('@tensorflow/tfjs-node-gpu');

const [a, b] = [
  tf.tensor2d([
    [1, 2],
    [3, 4],
  ]),
  tf.tensor2d([
    [5, 6],
    [7, 8],
  ]),
];
const product = Array.from(tf.matMul(a, b).dataSync());
if (product.join() !== '19,22,43,50')
  throw new Error(`[1 2; 3 4][5 6; 7 8] came out as ${product.join(' ')}`);
console.log(`TensorFlow ${tf.backend().binding.TF_Version}`);
