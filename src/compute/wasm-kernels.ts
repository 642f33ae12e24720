/** Two kernels that tfjs-backend-wasm 4.22 lacks and training needs: the gradient of a gather, and einsum. */
import type { KernelConfig, Rank, Tensor, TensorInfo, TypedArray } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** What of the backend the kernels use; its class is not exported with types. */
interface WasmBackend extends tf.KernelBackend {
  makeOutput(
    shape: number[],
    dtype: tf.DataType,
    memoryOffset: undefined,
    values: TypedArray,
  ): TensorInfo;
}

/**
 * out[s, …] = Σ_{i: ids[i] = s} x[i, …]; negative ids are dropped, as TensorFlow defines it.
 * @param x (…ids.shape, inner…)
 */
const unsortedSegmentSum: KernelConfig = {
  kernelName: tf.UnsortedSegmentSum,
  backendName: 'wasm',
  kernelFunc: ({ inputs, attrs, backend }) => {
    const { x, segmentIds } = inputs as { x: TensorInfo; segmentIds: TensorInfo };
    const { numSegments } = attrs as { numSegments: number };
    const wasm = backend as WasmBackend;
    const ids = wasm.readSync(segmentIds.dataId) as Int32Array;
    const values = wasm.readSync(x.dataId) as Float32Array | Int32Array;
    const innerShape = x.shape.slice(segmentIds.shape.length);
    const inner = innerShape.reduce((product, size) => product * size, 1);
    const sums =
      x.dtype === 'int32'
        ? new Int32Array(numSegments * inner)
        : new Float32Array(numSegments * inner);
    for (let row = 0; row < ids.length; row++) {
      const segment = ids[row]!;
      if (segment < 0 || segment >= numSegments) continue;
      for (let k = 0, from = row * inner, to = segment * inner; k < inner; k++)
        sums[to + k]! += values[from + k]!;
    }
    return wasm.makeOutput([numSegments, ...innerShape], x.dtype, undefined, sums);
  },
};

/** Sums out of `t` the axes that stand in it alone, and orders the rest. */
function arrange(t: Tensor, letters: string, wanted: readonly string[]): Tensor {
  const alone = [...letters].flatMap((letter, axis) => (wanted.includes(letter) ? [] : [axis]));
  const kept = [...letters].filter((letter) => wanted.includes(letter));
  const summed = alone.length > 0 ? tf.sum(t, alone) : t;
  return tf.transpose(
    summed,
    wanted.map((letter) => kept.indexOf(letter)),
  );
}

/**
 * One or two operands, as one batched product: (batch, left, sum) · (batch, right, sum)ᵀ → (batch, left, right) → the
 * order that the equation asks for. No letter may be repeated in one operand, as in tfjs.
 */
function einsumByMatMul(equation: string, operands: readonly Tensor[]): Tensor {
  const [sources, target = ''] = equation.replaceAll(' ', '').split('->');
  const [a = '', b] = (sources ?? '').split(',');
  const [x, y] = operands;
  if (x === undefined) throw new Error('einsum needs an operand');
  if (b === undefined || y === undefined) return arrange(x, a, [...target]);
  const sizes = new Map([...a].map((letter, axis) => [letter, x.shape[axis]!]));
  for (const [axis, letter] of [...b].entries()) sizes.set(letter, y.shape[axis]!);
  const batch = [...target].filter((letter) => a.includes(letter) && b.includes(letter));
  const left = [...target].filter((letter) => a.includes(letter) && !b.includes(letter));
  const right = [...target].filter((letter) => !a.includes(letter) && b.includes(letter));
  const summed = [...a].filter((letter) => b.includes(letter) && !target.includes(letter));
  const size = (letters: readonly string[]): number =>
    letters.reduce((product, letter) => product * sizes.get(letter)!, 1);
  const x3 = tf.reshape(arrange(x, a, [...batch, ...left, ...summed]), [
    size(batch),
    size(left),
    size(summed),
  ]); // (batch, left, sum)
  const y3 = tf.reshape(arrange(y, b, [...batch, ...right, ...summed]), [
    size(batch),
    size(right),
    size(summed),
  ]); // (batch, right, sum)
  const product = tf.matMul(x3, y3, false, true); // (batch, left, right)
  const order = [...batch, ...left, ...right];
  return tf.transpose(
    tf.reshape(
      product,
      order.map((letter) => sizes.get(letter)!),
    ),
    [...target].map((letter) => order.indexOf(letter)),
  );
}

const einsum: KernelConfig = {
  kernelName: tf.Einsum,
  backendName: 'wasm',
  kernelFunc: ({ inputs, attrs }) => {
    const { equation } = attrs as { equation: string };
    return tf.tidy(() => einsumByMatMul(equation, Object.values(inputs) as unknown as Tensor[]));
  },
};

/** Registers them; the backend must be imported first. A kernel that a later tfjs brings itself is left alone. */
export function registerMissingWasmKernels(): void {
  const present = new Set(tf.getKernelsForBackend('wasm').map((kernel) => kernel.kernelName));
  for (const kernel of [unsortedSegmentSum, einsum]) {
    if (!present.has(kernel.kernelName)) tf.registerKernel(kernel);
  }
}
