/**
 * Loads tfjs-core. The modules with the gradients, which bring a second copy of parts of tfjs-core,
 * must be imported after this file: the copy that is loaded first makes the engine and the class of
 * tensors for all code.
 */
import { engine } from '@tensorflow/tfjs-core';

engine();
