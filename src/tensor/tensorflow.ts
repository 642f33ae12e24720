/**
 * Registers TensorFlow with tfjs-core, as the entry file of tfjs-node does. Left out are saved
 * models, images and TensorBoard, which nothing here uses.
 */
import { createRequire } from 'node:module';
import { registerBackend } from '@tensorflow/tfjs-core';
import { NodeJSKernelBackend } from '@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js';
import type { TFJSBinding } from '@tensorflow/tfjs-node-gpu/dist/tfjs_binding.js';
import { bindingFile, installedDir, PACKAGES } from './backend.ts';

import '@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js';

/** Loads the binding and TensorFlow's library. Throws if the package is not installed. */
export function registerTensorflow(): void {
  const name = PACKAGES.tensorflow,
    file = bindingFile(installedDir(name));
  const binding = createRequire(import.meta.url)(file) as TFJSBinding;
  registerBackend('tensorflow', () => new NodeJSKernelBackend(binding, name));
}
