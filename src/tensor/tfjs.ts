/**
 * What stands for the package `@tensorflow/tfjs` in a build: the gradients and the methods of
 * tensors, which tfjs-core has by itself only in a browser. The package brings layers, converters,
 * data sets and two more backends along, which take a worker longer to load than all the rest.
 * `src/setup/bundle.mjs` puts this file in its place.
 */
import './tfjs-core.ts';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
