/**
 * Registers TensorFlow with tfjs-core, as the entry of tfjs-node does. Left out are saved models,
 * images and TensorBoard, which nothing here uses.
 */
import { createRequire } from 'node:module';
import { registerBackend } from '@tensorflow/tfjs-core';
import { NodeJSKernelBackend } from '@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js';
import type { TFJSBinding } from '@tensorflow/tfjs-node-gpu/dist/tfjs_binding.js';
import { bindingFile, packageDir } from './backend.ts';

import '@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js';

const PACKAGE = '@tensorflow/tfjs-node-gpu';

/** Loads the binding and TensorFlow's library. Throws if the package is not installed. */
export function registerTensorflow(): void {
  const dir = packageDir(PACKAGE);
  if (dir === null) throw new Error(`${PACKAGE} is not installed`);
  const binding = createRequire(import.meta.url)(bindingFile(dir)) as TFJSBinding;
  registerBackend('tensorflow', () => new NodeJSKernelBackend(binding, PACKAGE));
}
