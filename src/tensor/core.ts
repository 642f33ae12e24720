/**
 * The parts of tfjs-core that loading a backend needs. Importing this file also registers the
 * gradients.
 */
import '@tensorflow/tfjs';

export { env, setBackend } from '@tensorflow/tfjs-core';
