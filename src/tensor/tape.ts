/**
 * Reverse-mode differentiation over the tape of tfjs. Its own walk looks up each input of each
 * operation once for every tensor that is differentiated with respect to, and `tf.customGrad` makes
 * a copy of each tensor that it saves by calling an operation; with the hundreds of parameters of
 * an adapter, both cost a noticeable part of a training step.
 */
import type { NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../base/lookup.ts';

/** An operation on the tape, in the form in which tfjs keeps those of its own. */
interface TapeNode {
  readonly id: number;
  readonly kernelName: string;
  readonly inputs: NamedTensorMap;
  readonly outputs: Tensor[];
  readonly saved?: Tensor[];
  readonly gradient?: (dys: Tensor[]) => Record<string, () => Tensor>;
}

/** What is used of tfjs's engine beyond its public methods. */
interface Internals {
  readonly state: {
    activeTape: TapeNode[] | null;
    nextTapeNodeId: number;
    readonly gradientDepth: number;
    kernelDepth: number;
  };
  startTape(): void;
  endTape(): void;
}

const internals = (): Internals => tf.engine() as unknown as Internals;

/** Whether operations are recorded now. */
export const isRecording = (): boolean => tf.engine().isTapeOn();

/** Runs `run` without recording its operations. */
export function unrecorded<T>(run: () => T): T {
  const { state } = internals();
  state.kernelDepth++;
  try {
    return run();
  } finally {
    state.kernelDepth--;
  }
}

/** Another tensor over the same entries, which lives until it is disposed of. */
export function held<T extends Tensor>(tensor: T): T {
  const engine = tf.engine();
  engine.backend.incRef(tensor.dataId);
  return tf.keep(engine.makeTensorFromTensorInfo(tensor)) as T;
}

/** An operation whose gradients with respect to all inputs are computed at once. */
class OwnNode implements TapeNode {
  readonly kernelName = 'differentiable';
  readonly inputs: NamedTensorMap;
  readonly outputs: Tensor[];

  constructor(
    readonly id: number,
    readonly of: readonly Tensor[],
    output: Tensor,
    /** Disposed of with the tape. */
    readonly saved: Tensor[],
    /** Returns the gradient of each input, given that of the output. */
    readonly backward: (dy: Tensor) => readonly Tensor[],
  ) {
    this.inputs = Object.fromEntries(of.map((input, i) => [i, input]));
    this.outputs = [output];
  }

  /** What tfjs calls. */
  readonly gradient = ([dy]: Tensor[]): Record<string, () => Tensor> =>
    Object.fromEntries(this.backward(dy as Tensor).map((dx, i) => [i, () => dx]));
}

/**
 * Records an operation, which can be differentiated once: what its gradients are computed from is
 * not on the tape, so to differentiate those throws, where it would leave out part of the result.
 */
export function record(
  inputs: readonly Tensor[],
  output: Tensor,
  saved: readonly Tensor[],
  backward: (dy: Tensor) => readonly Tensor[],
): void {
  const { state } = internals();
  const backwardOnce = (dy: Tensor): readonly Tensor[] => {
    if (!isRecording()) return backward(dy);
    const gradients = unrecorded(() => backward(dy));
    state.activeTape?.push({
      id: state.nextTapeNodeId++,
      kernelName: 'gradients of differentiable',
      inputs: { dy, ...Object.fromEntries(inputs.map((input, i) => [i, input])) },
      outputs: [...gradients],
      saved: [],
      gradient() {
        throw new Error("an operation's gradients can't be differentiated in turn");
      },
    });
    return gradients;
  };
  state.activeTape?.push(
    new OwnNode(state.nextTapeNodeId++, inputs, output, [...saved], backwardOnce),
  );
}

/** Runs `f` with its operations recorded, and disposes of all of its tensors but the value. */
function recording<T extends Tensor>(engine: Internals, f: () => T): T {
  engine.startTape();
  try {
    return tf.tidy(f);
  } finally {
    engine.endTape();
  }
}

/** An operation, with those of its inputs that are differentiated. */
interface Step {
  readonly node: TapeNode;
  readonly inputs: readonly (readonly [name: string, input: Tensor])[];
}

/** The operations on paths from `xs` to y, with those of their inputs that are on such paths. */
function onPaths(tape: readonly TapeNode[], xs: readonly Tensor[], y: Tensor): Step[] {
  const from = new Set(xs.map(({ id }) => id)),
    to = new Set([y.id]);
  const reached = tape.map((node) => {
    const inputs = Object.entries(node.inputs).filter(([, { id }]) => from.has(id));
    if (inputs.length > 0) for (const { id } of node.outputs) from.add(id);
    return { node, inputs };
  });
  for (const { node, inputs } of reached.toReversed())
    if (inputs.length > 0 && node.outputs.some(({ id }) => to.has(id)))
      for (const [, { id }] of inputs) to.add(id);
  return reached.filter(
    ({ node, inputs }) => inputs.length > 0 && node.outputs.some(({ id }) => to.has(id)),
  );
}

const sameShape = (a: Tensor, b: Tensor): boolean =>
  a.shape.length === b.shape.length && a.shape.every((n, i) => n === b.shape[i]);

/** The gradients of some inputs of an operation, given those of its outputs. */
function inputGradients(
  { node, inputs }: Step,
  dys: readonly (Tensor | undefined)[],
): readonly Tensor[] {
  if (node instanceof OwnNode) {
    const [dy] = dys as Tensor[],
      all = node.backward(dy!);
    return inputs.map(([name]) => at(all, Number(name)));
  }
  if (node.gradient === undefined)
    throw new Error(`the operation ${node.kernelName} has no gradient`);
  // tfjs puts zeros in the place of what is missing.
  const thunks = node.gradient(dys as Tensor[]);
  return inputs.map(([name]) => {
    const thunk = thunks[name];
    if (thunk === undefined)
      throw new Error(`the operation ${node.kernelName} has no gradient for its input ${name}`);
    return tf.tidy(thunk);
  });
}

/** Adds to `found`, which has the gradients of some tensors by number, those of all inputs. */
function walk(steps: readonly Step[], found: Map<number, Tensor>): void {
  for (const step of steps.toReversed()) {
    const { node, inputs } = step;
    const own = inputGradients(
      step,
      node.outputs.map(({ id }) => found.get(id)),
    );
    inputs.forEach(([name, x], k) => {
      const dx = at(own, k),
        before = found.get(x.id);
      if (dx.dtype !== 'float32' || !sameShape(dx, x))
        throw new Error(
          `the gradient of input ${name} of ${node.kernelName} has ` +
            `${dx.dtype} [${dx.shape.join()}], not float32 [${x.shape.join()}]`,
        );
      found.set(x.id, before === undefined ? dx : tf.add(before, dx));
      before?.dispose();
    });
  }
}

/**
 * Returns the value of `f` and the gradient with respect to each of `xs`: null for one that the
 * value does not depend on. Other tensors of both passes are disposed of.
 * @param dy the gradient with respect to the value; default: ones, for the gradient of its sum
 */
export function differentiate<T extends Tensor>(
  f: () => T,
  xs: readonly Tensor[],
  dy?: T,
): { readonly value: T; readonly grads: (Tensor | null)[] } {
  const engine = internals(),
    { state } = engine,
    found = new Map<number, Tensor>();
  const gradientOf = ({ id }: Tensor): Tensor | null => found.get(id) ?? null;
  try {
    const value = recording(engine, f);
    tf.tidy(() => {
      found.set(value.id, dy ?? tf.ones(value.shape));
      walk(onPaths(state.activeTape ?? [], xs, value), found);
      return xs.flatMap((x) => gradientOf(x) ?? []);
    });
    return { value, grads: xs.map(gradientOf) };
  } finally {
    // Within another call of `differentiate`, that one's tape goes on.
    if (state.gradientDepth === 0) {
      for (const { saved } of state.activeTape ?? []) tf.dispose(saved ?? []);
      state.activeTape = null;
    }
  }
}
