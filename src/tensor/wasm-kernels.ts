/**
 * Loads the WebAssembly backend, and adds UnsortedSegmentSum to it: the gradient of a gather, which
 * a plugin's loss may need and tfjs-backend-wasm 4.22 lacks.
 */
import type { KernelConfig, TensorInfo, TypedArray } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

export { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';

/** What the kernel uses of the backend, whose class the package does not export. */
interface WasmBackend extends Pick<tf.KernelBackend, 'readSync'> {
  makeOutput(
    shape: number[],
    dtype: tf.DataType,
    memoryOffset: undefined,
    values: TypedArray,
  ): TensorInfo;
}

/**
 * out[s, …] = Σ_{i: ids[i] = s} x[i, …]. Negative ids are ignored, as in TensorFlow, and so are ids
 * from numSegments on. x: (…ids.shape, …inner) → (numSegments, …inner).
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

tf.registerKernel(unsortedSegmentSum);
