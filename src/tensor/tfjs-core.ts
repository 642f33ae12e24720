/**
 * Loads tfjs-core. The gradients, which come with a copy of parts of it, are imported after this
 * file, because the copy that is loaded first makes the engine and the class of tensors for all.
 */
import { engine } from '@tensorflow/tfjs-core';

engine();
