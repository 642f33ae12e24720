/**
 * Operations that bring their own derivative, and reverse-mode differentiation over the tape of
 * tfjs.
 *
 * tf.customGrad computes the gradient of every input; here an operation is told which inputs need
 * one, and an input that depends only on constants needs none. So no frozen parameter is ever
 * differentiated, and the backward pass ends at the first trained layer. Two more things in tfjs
 * cost a noticeable part of a training step with the hundreds of parameters of an adapter. The walk
 * of tfjs over the tape looks up each input of each operation once for every such parameter. And
 * tf.customGrad calls an operation to copy each tensor that it saves.
 */
import type { NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../base/lookup.ts';
import { processWide } from '../base/process-wide.ts';

/** An operation on the tape, as tfjs keeps it. */
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

const isRecording = (): boolean => tf.engine().isTapeOn();

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

/** Returns another tensor over the same entries, which no `tidy` disposes of. */
function newHandle<T extends Tensor>(tensor: T): T {
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
    /** What `backward` reads; disposed of with the tape. */
    readonly saved: Tensor[],
    /** Returns the gradient of each input, given that of the output. */
    readonly backward: (dy: Tensor) => readonly Tensor[],
  ) {
    this.inputs = Object.fromEntries(of.map((input, i) => [i, input]));
    this.outputs = [output];
  }

  /**
   * `backward` in the form that tfjs expects: a function for each input, by the input's position.
   */
  readonly gradient = ([dy]: Tensor[]): Record<string, () => Tensor> =>
    Object.fromEntries(this.backward(dy as Tensor).map((dx, i) => [i, () => dx]));
}

/**
 * Records an operation, which can be differentiated once. The tape does not say how the gradients
 * of the operation were computed. So differentiating these gradients in turn throws an error,
 * rather than leave out a part of the result.
 */
function record(
  inputs: readonly Tensor[],
  output: Tensor,
  saved: readonly Tensor[],
  backward: (dy: Tensor) => readonly Tensor[],
): void {
  const { state } = internals();
  /**
   * Returns what `backward` returns. If a tape is being recorded, adds a node to it that can't be
   * differentiated.
   */
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

/** Returns the value of `f`, with its operations recorded and its other tensors disposed of. */
function recordTape<T extends Tensor>(f: () => T): T {
  const engine = internals();
  engine.startTape();
  try {
    return tf.tidy(f);
  } finally {
    engine.endTape();
  }
}

interface Step {
  readonly node: TapeNode;
  /** The node's inputs that are `xs` of `stepsBetween`, or depend on them. */
  readonly inputs: readonly (readonly [name: string, input: Tensor])[];
}

/** Returns the operations that depend on `xs` and that y depends on, in the tape's order. */
function stepsBetween(tape: readonly TapeNode[], xs: readonly Tensor[], y: Tensor): Step[] {
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

/**
 * Returns the gradients of a step's inputs.
 * @param dys the gradients of the node's outputs; undefined stands for zeros
 */
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
  // tfjs takes zeros for an output whose gradient is undefined.
  const thunks = node.gradient(dys as Tensor[]);
  return inputs.map(([name]) => {
    const thunk = thunks[name];
    if (thunk === undefined)
      throw new Error(`the operation ${node.kernelName} has no gradient for its input ${name}`);
    return tf.tidy(thunk);
  });
}

/**
 * Goes back through the steps, and adds the gradients of their inputs to `found`.
 * @param found gradients by tensor id; at first only that of y
 */
function backpropagate(steps: readonly Step[], found: Map<number, Tensor>): void {
  for (const step of steps.toReversed()) {
    const { node, inputs } = step;
    const gradients = inputGradients(
      step,
      node.outputs.map(({ id }) => found.get(id)),
    );
    inputs.forEach(([name, x], k) => {
      const dx = at(gradients, k),
        before = found.get(x.id);
      if (dx.dtype !== 'float32' || !tf.util.arraysEqual(dx.shape, x.shape))
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
 * Returns the value of `f`, and its gradient with respect to each of `xs`: null if the value does
 * not depend on that one. All other tensors of both passes are disposed of.
 * @param dy the gradient with respect to the value; default: ones, for the gradient of its sum
 */
export function differentiate<T extends Tensor>(
  f: () => T,
  xs: readonly Tensor[],
  dy?: T,
): { readonly value: T; readonly grads: (Tensor | null)[] } {
  const { state } = internals(),
    found = new Map<number, Tensor>();
  /** Returns the gradient found for a tensor; null if there is none. */
  const gradientOf = ({ id }: Tensor): Tensor | null => found.get(id) ?? null;
  try {
    const value = recordTape(f);
    tf.tidy(() => {
      found.set(value.id, dy ?? tf.ones(value.shape));
      backpropagate(stepsBetween(state.activeTape ?? [], xs, value), found);
      return xs.flatMap((x) => gradientOf(x) ?? []);
    });
    return { value, grads: xs.map(gradientOf) };
  } finally {
    // An outer call of `differentiate` still needs the tape.
    if (state.gradientDepth === 0) {
      for (const { saved } of state.activeTape ?? []) tf.dispose(saved ?? []);
      state.activeTape = null;
    }
  }
}

// A tensor that is not in this set counts as variable: forgetting to add a constant costs time, but
// never a gradient.
const constants = processWide('tensor.constants', () => new WeakSet<Tensor>());

/** Declares a tensor constant: nothing is ever differentiated with respect to it. */
export function markConstant<T extends Tensor>(tensor: T): T {
  constants.add(tensor);
  return tensor;
}

export const isConstant = (tensor: Tensor): boolean => constants.has(tensor);

const eagerDisposal = processWide('tensor.eagerDisposal', () => ({ depth: 0 }));

/**
 * Runs a gradient computation in which each operation frees its saved tensors and its incoming
 * gradient as soon as it has returned its own gradients. Valid for a single backward pass, with
 * respect to tensors that no operation produced.
 */
export function withEagerDisposal<T>(run: () => T): T {
  eagerDisposal.depth++;
  try {
    return run();
  } finally {
    eagerDisposal.depth--;
  }
}

export interface Operation<Value extends Tensor, Saved extends readonly Tensor[]> {
  /**
   * Computes the value. `saved` lists every tensor that `backward` uses, whether made here or
   * elsewhere: all other tensors of the forward pass are freed before `backward` runs.
   */
  forward(): { readonly value: Value; readonly saved: Saved };
  /**
   * Returns one gradient for each input, in that input's shape; null is allowed where `needs` is
   * false.
   * @param dy gradient of the loss with respect to the value, in the value's shape
   * @param needs for each input, whether its gradient is needed; false for an absent one
   */
  backward(dy: Value, saved: Saved, needs: readonly boolean[]): readonly (Tensor | null)[];
}

/**
 * Returns the operation's value, which can be differentiated once with respect to every input that
 * is not constant. Where all inputs are constant, so is the value. Where no tape is recorded, only
 * the value is computed.
 * @param inputs null stands for an input that the operation does without, such as a bias
 */
export function differentiable<Value extends Tensor, const Saved extends readonly Tensor[]>(
  inputs: readonly (Tensor | null)[],
  operation: Operation<Value, Saved>,
): Value {
  const needs = inputs.map((input) => input !== null && !isConstant(input));
  if (!needs.includes(true)) return markConstant(tf.tidy(() => operation.forward().value));
  if (!isRecording()) return tf.tidy(() => operation.forward().value);
  const wanted = inputs.filter((input, i): input is Tensor => needs[i] === true),
    handles: Tensor[] = [];
  const [value, saved] = unrecorded(() => {
    let toSave: Tensor[] = [];
    const result = tf.tidy(() => {
      const made = operation.forward();
      toSave = made.saved.map((tensor) => {
        // Constants that `tf.keep` keeps, such as frozen weights, outlive the backward pass.
        if (isConstant(tensor) && tensor.kept) return tensor;
        const handle = newHandle(tensor);
        handles.push(handle);
        return handle;
      });
      return made.value;
    });
    return [result, toSave as readonly Tensor[] as Saved] as const;
  });
  record(wanted, value, handles, (dy) => {
    const gradients = tf.tidy(() =>
      operation.backward(dy as Value, saved, needs).filter((gradient, i): gradient is Tensor => {
        if (needs[i] === true && gradient === null)
          throw new Error('an operation returned no gradient for an input that needs one');
        return needs[i] === true;
      }),
    );
    if (eagerDisposal.depth > 0)
      for (const tensor of [dy, ...handles]) if (!gradients.includes(tensor)) tensor.dispose();
    return gradients;
  });
  return value;
}

/** Returns a + b, for tensors of one shape. The sum is constant if both are. */
export function add<T extends Tensor>(a: T, b: T): T {
  const sum = tf.add<T>(a, b);
  return isConstant(a) && isConstant(b) ? markConstant(sum) : sum;
}
