/**
 * Replaces the package `@tensorflow/tfjs` in a build (`src/setup/bundle.mjs`), with the gradients
 * and the methods of tensors, which tfjs-core has by itself only in a browser. The package also has
 * layers, converters, data sets and two more backends, which take a worker longer to load than all
 * the rest.
 */
import './tfjs-core.ts';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
