/** The part of tfjs-core that loads a backend. Importing this file also registers the gradients. */
import '@tensorflow/tfjs';

export { env, setBackend } from '@tensorflow/tfjs-core';
