/**
 * The WebAssembly backend, and two kernels that training needs and tfjs-backend-wasm 4.22
 * lacks: the gradient of a gather, and einsum.
 */
import type { KernelConfig, Tensor, TensorInfo, TypedArray } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

export { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';

/**
 * The part of the backend that the kernels use. The package does not export the types of its class.
 */
interface WasmBackend extends Pick<tf.KernelBackend, 'readSync'> {
  makeOutput(
    shape: number[],
    dtype: tf.DataType,
    memoryOffset: undefined,
    values: TypedArray,
  ): TensorInfo;
}

/**
 * out[s, …] = Σ_{i: ids[i] = s} x[i, …]. Negative ids are ignored, as in TensorFlow.
 * x: (…ids.shape, …inner) → (numSegments, …inner).
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

function extentOf(t: Tensor, axis: number): number {
  const extent = t.shape[axis];
  if (extent === undefined) throw new Error(`einsum: an operand has no axis ${axis}`);
  return extent;
}

/** Sums `t`, whose axes are `letters`, over unwanted ones, and puts the others in order. */
function arrange(t: Tensor, letters: string, wanted: readonly string[]): Tensor {
  const unwanted = Array.from(letters).flatMap((letter, axis) =>
    wanted.includes(letter) ? [] : [axis],
  );
  const kept = Array.from(letters).filter((letter) => wanted.includes(letter));
  const summed = unwanted.length > 0 ? tf.sum(t, unwanted) : t;
  return tf.transpose(
    summed,
    wanted.map((letter) => kept.indexOf(letter)),
  );
}

/**
 * einsum of one or two operands as one batched product: (batch, left, sum) · (batch, right, sum)ᵀ →
 * (batch, left, right) → the order in the equation. As in tfjs, no letter may be repeated within an
 * operand.
 */
function einsumByMatMul(equation: string, operands: readonly Tensor[]): Tensor {
  const [sources, target = ''] = equation.replaceAll(' ', '').split('->');
  const [a = '', b] = (sources ?? '').split(',');
  const [x, y] = operands;
  if (x === undefined) throw new Error('einsum needs an operand');
  if (b === undefined || y === undefined) return arrange(x, a, Array.from(target));
  const sizes = new Map(Array.from(a).map((letter, axis) => [letter, extentOf(x, axis)]));
  for (const [axis, letter] of Array.from(b).entries()) sizes.set(letter, extentOf(y, axis));
  const batch = Array.from(target).filter((letter) => a.includes(letter) && b.includes(letter));
  const left = Array.from(target).filter((letter) => a.includes(letter) && !b.includes(letter));
  const right = Array.from(target).filter((letter) => !a.includes(letter) && b.includes(letter));
  const summed = Array.from(a).filter((letter) => b.includes(letter) && !target.includes(letter));
  const sizeOf = (letter: string): number => {
    const extent = sizes.get(letter);
    if (extent === undefined) throw new Error(`einsum: no operand has the axis ${letter}`);
    return extent;
  };
  const size = (letters: readonly string[]): number =>
    letters.reduce((product, letter) => product * sizeOf(letter), 1);
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
    tf.reshape(product, order.map(sizeOf)),
    Array.from(target).map((letter) => order.indexOf(letter)),
  );
}

/** Kernels are typed to receive tensor infos, but tfjs passes the tensors themselves. */
const isTensor = (input: TensorInfo | undefined): input is Tensor => input instanceof tf.Tensor;

const einsum: KernelConfig = {
  kernelName: tf.Einsum,
  backendName: 'wasm',
  kernelFunc: ({ inputs, attrs }) => {
    const { equation } = attrs as { equation: string };
    return tf.tidy(() => einsumByMatMul(equation, Object.values(inputs).filter(isTensor)));
  },
};

/**
 * Registers the missing kernels. The backend must have been imported. A kernel that it already has
 * is left as it is.
 */
export function registerMissingWasmKernels(): void {
  const present = new Set(tf.getKernelsForBackend('wasm').map((kernel) => kernel.kernelName));
  for (const kernel of [unsortedSegmentSum, einsum]) {
    if (!present.has(kernel.kernelName)) tf.registerKernel(kernel);
  }
}
