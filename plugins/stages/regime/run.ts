/**
 * Compares the linearised model's prediction f₀ + J₀(Θ_T − Θ₀) with the trained model's f_T
 * (docs/theory.md, The kernel regime). J₀ is the Jacobian with respect to every trained parameter,
 * including the head, for any adapter: one backward pass per row and output (class logit, or log
 * p(answer)), each gradient contracted with the displacement at once, without approximation.
 */
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { pointName, type RunContext, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import { argmax } from '../../../src/science/measures/evaluate/metrics.ts';
import { predict } from '../../../src/science/measures/evaluate/predict.ts';
import { writeNpy } from '../../../src/science/models/io/npy.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { logitCounter, outputsOf, rowOutputs } from '../../../src/science/models/outputs.ts';
import type { HostTensor, OutputsOf, TokenRow } from '../../../src/science/models/types.ts';
import {
  openTorchModel,
  readTorchStart,
  type TorchStart,
  weightsOf,
} from '../../../src/science/torch/model.ts';
import {
  type AdaptedModelOptions,
  endStep,
  openRowEncoder,
  openTrained,
  readTrained,
  type TrainRecord,
} from '../../../src/science/training/adapted-model.ts';
import { differentiate } from '../../../src/tensor/differentiable.ts';
import { NO_LINEARISED } from '../shared/definition.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import {
  inputDir,
  type Metrics,
  numbersIn,
  readMetrics,
  writeJson,
  writeMetrics,
} from '../shared/files.ts';
import { readKernelRows } from '../shared/kernel-rows.ts';
import { modelParts } from '../shared/trained-model.ts';
import type { Params } from './index.ts';

interface Point {
  readonly at: string;
  readonly step: number;
  /**
   * How far each kernel moved from the start to this point. A projected kernel has also `error`:
   * the larger of the standard errors at the start and at this point, each as a share of its
   * kernel's norm.
   */
  readonly kernels: {
    readonly [K in 'lora' | 'full']?: { drift: number; rotation: number; error?: number };
  };
  readonly linear: LinearFit;
}

/** The model at one point, and how far training moved it. */
interface Reached {
  readonly record: TrainRecord;
  readonly logits: Float32Array; // f_T (N, C)
  /** Returns f₀ and J₀(Θ_T − Θ₀). */
  linearise(options: LinearisedOptions): Promise<Linearised>;
  dispose(): void;
}

type Context = RunContext<Params>;

/** Writes `regime.json`, and the logits at the start, at each point, and as linearised there. */
export async function run(context: Context): Promise<void> {
  const { params, outDir } = context;
  const { rows } = await readKernelRows(context, 'on which the linearised model predicts');
  const ntk = await readMetrics(inputDir(context, 'ntk'));
  const parts = await modelParts(context);
  const encode = await openRowEncoder(inputDir(context, 'model'), parts.model);
  const encoded = rows.map((row) => encode(row, params.max_length));
  const open = context.backend === 'torch' ? openTorchStart : openStart;
  const start = await open({ ...parts, trainDir: inputDir(context, 'start') });
  const { outputs } = start;
  const asked = [...(params.steps ?? []), 'final' as const];
  const points: Point[] = [];
  try {
    for (const [index, at] of asked.entries()) {
      const progress: Context['progress'] = (done, total, unit) => {
        context.progress(index * total + done, asked.length * total, unit);
      };
      const options = { ...parts, trainDir: inputDir(context, 'model') };
      const reached = await start.reach(
        at === 'final' ? options : { ...options, at },
        encoded,
        params.batch_size,
      );
      const { record, logits } = reached;
      try {
        const linearised = await reached.linearise({ progress, signal: context.signal });
        const { start: initial, change } = linearised;
        /** Writes values (N, C) as `logits-NAME.npy`. */
        const write = (name: string, data: Float64Array | Float32Array) =>
          writeNpy(join(outDir, `logits-${name}.npy`), {
            shape: [rows.length, outputs.count],
            data,
          });
        if (index === 0) await write('init', initial);
        const linear = initial.map((value, k) => value + change[k]!); // f₀ + J₀v
        await write(at === 'final' ? 'linear' : `linear-${pointName(at)}`, linear);
        await write(pointName(at), logits);
        const point: Point = {
          at: pointName(at),
          step: at === 'final' ? endStep(record) : at,
          kernels: kernelsAt(at, ntk),
          linear: linearFit(initial, change, logits, outputs.count),
        };
        points.push(point);
        context.log(logLine(params.optimizer, point));
      } finally {
        reached.dispose();
      }
    }
  } finally {
    start.dispose();
  }
  await writeResults(context, points, rows.length, outputs.of);
}

/** The model before the training, opened in this process or in PyTorch's. */
interface RegimeStart {
  readonly outputs: ReturnType<typeof outputsOf>;
  /** Opens the model at a point of the training, and predicts with it. */
  reach(end: AdaptedModelOptions, rows: readonly TokenRow[], batchSize: number): Promise<Reached>;
  dispose(): void;
}

async function openStart(options: AdaptedModelOptions): Promise<RegimeStart> {
  const { network: start } = await openTrained(options);
  return {
    outputs: outputsOf(start),
    reach: async (asked, rows, batchSize) => {
      const { network: end, record } = await openTrained(asked);
      try {
        const logits = await predict(
          {
            classes: outputsOf(end).count,
            logits: logitCounter(end),
            forward: (batch) => rowOutputs(end, batch),
          },
          rows,
          batchSize,
        );
        const moved = displacement(start, end);
        return {
          record,
          logits,
          linearise: (by) => linearise(start, moved, rows, by),
          dispose: () => moved.forEach((tensor) => tensor.dispose()),
        };
      } finally {
        end.dispose();
      }
    },
    dispose: () => start.dispose(),
  };
}

/** The number of rows in one request to PyTorch's process. */
const ROWS = 8;

async function openTorchStart(options: AdaptedModelOptions): Promise<RegimeStart> {
  const { network: asked } = await readTrained(options);
  const from = await readTorchStart(asked);
  const model = await openTorchModel(from);
  const outputs = outputsOf(asked);
  return {
    outputs,
    reach: async (at, rows, batchSize) => {
      const { network, record } = await readTrained(at);
      const to = await readTorchStart(network);
      const end = await openTorchModel(to);
      try {
        const direction = await torchDisplacement(from, to);
        return {
          record,
          logits:
            outputs.of === 'class logits'
              ? await end.logits(rows, batchSize)
              : Float32Array.from(await end.answers(rows, batchSize), ({ loss }) => -loss),
          linearise: async ({ progress, signal }) => {
            refuseDora(weightsOf(from));
            const found = await model.linearised(direction, rows, ROWS, async (done) => {
              progress?.(done, rows.length, 'rows');
              await yieldToEventLoop(signal);
            });
            return { start: Float64Array.from(found.outputs), change: found.change };
          },
          dispose: () => undefined,
        };
      } finally {
        end.dispose();
      }
    },
    dispose: () => model.dispose(),
  };
}

/**
 * Returns Θ_T − Θ₀ by name, as `displacement` does, in main memory. Throws UserFault if a parameter
 * that is trained at the start is not trained at the end, or has another shape there.
 */
async function torchDisplacement(
  start: TorchStart,
  end: TorchStart,
): Promise<Map<string, HostTensor>> {
  const moved = new Map<string, HostTensor>(),
    names = new Set(end.trained);
  for (const name of start.trained) {
    const from = await start.read(name),
      to = names.has(name) ? await end.read(name) : undefined;
    if (to?.shape.join() !== from.shape.join()) throw missingAtEnd(name);
    const data = Float32Array.from(to.data, (value, i) => value - at(from.data, i));
    moved.set(name, { shape: from.shape, data });
  }
  return moved;
}

/**
 * Returns how far the kernels moved up to a point, from the metrics of the ntk stage. A kernel that
 * these metrics lack is left out.
 */
function kernelsAt(at: number | 'final', ntk: Metrics): Point['kernels'] {
  const kernels: { -readonly [K in keyof Point['kernels']]: Point['kernels'][K] } = {};
  for (const kind of ['lora', 'full'] as const) {
    const name = at === 'final' ? kind : `${pointName(at)}.${kind}`;
    const { [`${name}.drift`]: drift, [`${name}.rotation`]: rotation } = ntk;
    if (drift !== undefined && rotation !== undefined)
      kernels[kind] = { drift, rotation, ...defined({ error: ntk[`${name}.error`] }) };
  }
  return kernels;
}

function logLine(optimizer: string, { step, linear }: Point): string {
  const error = linear.relative_error?.toFixed(3) ?? 'undefined, nothing moved';
  return `${optimizer}, ${step} steps: the linearised prediction's relative error is ${error}`;
}

async function writeResults(
  { outDir, params }: Context,
  points: readonly Point[],
  rows: number,
  outputs: OutputsOf,
): Promise<void> {
  const along = points.slice(0, -1);
  const { step: steps, kernels, linear } = at(points, points.length - 1);
  const { optimizer, learning_rate } = params;
  await writeJson(outDir, 'regime.json', {
    ...{ optimizer, learning_rate, steps, rows, outputs, kernels, linear },
    ...(along.length > 0 && { along }),
  });
  // The numbers of a kept step have the step's name as prefix; those of the end have none.
  const metrics: Metrics = {};
  for (const { at, kernels, linear } of points)
    for (const [part, numbers] of Object.entries({ ...kernels, linear }))
      Object.assign(metrics, numbersIn(numbers, `${at === 'final' ? '' : `${at}.`}${part}.`));
  await writeMetrics(outDir, metrics);
}

type LinearisedOptions = Partial<Pick<Context, 'progress' | 'signal'>>;

interface Linearised {
  readonly start: Float64Array; // f₀ (N, C)
  readonly change: Float64Array; // J₀(Θ_T − Θ₀) (N, C)
}

/**
 * Returns Θ_T − Θ₀ by name. The caller disposes of it. Throws UserFault if a parameter that is
 * trained at the start is not trained at the end, or has another shape there.
 */
export function displacement(start: Network, end: Network): Map<string, Tensor> {
  const moved = new Map<string, Tensor>();
  for (const [name, from] of start.initial) {
    const to = end.initial.get(name);
    if (to === undefined || to.shape.join() !== from.shape.join()) {
      moved.forEach((tensor) => tensor.dispose());
      throw missingAtEnd(name);
    }
    moved.set(name, tf.sub(to, from));
  }
  return moved;
}

const missingAtEnd = (name: string): UserFault =>
  new UserFault(
    `the parameter ${name} is trained at the start but has no like at the end`,
    'A linearised prediction needs the same trained parameters at both.',
  );

/**
 * Throws UserFault under DoRA: DoRA's gradient takes the weights' norms as constants, so it is not
 * the derivative of the model, and J₀v would not be the first-order change of the output.
 */
function refuseDora({ adapter, linears }: Pick<Network, 'adapter' | 'linears'>): void {
  if (linears.some(({ name }) => adapter.factors(name)?.magnitude !== undefined))
    throw new UserFault(NO_LINEARISED, 'Leave out the stage regime for adapters with use_dora.');
}

/**
 * Returns f₀ and J₀ v of N rows. Throws UserFault for a network under DoRA.
 * @param v a direction for every trained parameter of the network, by name
 */
export async function linearise(
  network: Network,
  v: ReadonlyMap<string, Tensor>,
  rows: readonly TokenRow[],
  options: LinearisedOptions = {},
): Promise<Linearised> {
  refuseDora(network);
  const { count: classes } = outputsOf(network);
  const start = new Float64Array(rows.length * classes),
    change = new Float64Array(rows.length * classes);
  // Differentiate by copies: the tensors of a network opened for evaluation are constants.
  const names = [...network.initial.keys()];
  const values = new Map(names.map((name) => [name, tf.clone(network.initial.get(name)!)]));
  try {
    for (const [i, row] of rows.entries()) {
      tf.tidy(() => {
        for (let c = 0; c < classes; c++) {
          const oneHot = Array.from({ length: classes }, (_, k) => Number(k === c));
          const { value, grads } = differentiate(
            () => rowOutputs(network, [row], values),
            [...values.values()],
            tf.tensor2d(oneHot, [1, classes]),
          );
          if (c === 0) start.set(value.dataSync<'float32'>(), i * classes);
          names.forEach((name, k) => {
            // A parameter that this row does not reach has no gradient.
            const gradient = at(grads, k);
            if (gradient !== null)
              change[i * classes + c]! += tf
                .sum(tf.mul(gradient, v.get(name)!))
                .dataSync<'float32'>()[0]!;
          });
        }
      });
      options.progress?.(i + 1, rows.length, 'rows');
      await yieldToEventLoop(options.signal);
    }
  } finally {
    values.forEach((tensor) => tensor.dispose());
  }
  return { start, change };
}

interface LinearFit {
  /** ‖f₀ + J₀v − f_T‖ / ‖f_T − f₀‖, 1 for predicting no change; null if nothing moved. */
  readonly relative_error: number | null;
  /** cos between J₀v and f_T − f₀; null if either is zero. */
  readonly cosine: number | null;
  /**
   * The share of rows for which f₀ + J₀v predicts the same class as f_T; null if the outputs are
   * log p(answer), which has no classes.
   */
  readonly agreement: number | null;
  /** The same for f₀, the model before training, in place of f₀ + J₀v. */
  readonly agreement_start: number | null;
}

/**
 * Compares f₀ + J₀v with f_T. `start` is f₀, `change` J₀v and `end` f_T, each (N, C). With C = 1,
 * the one output is log p(answer).
 */
export function linearFit(
  start: ArrayLike<number>,
  change: ArrayLike<number>,
  end: ArrayLike<number>,
  classes: number,
): LinearFit {
  let error = 0,
    real = 0,
    linear = 0,
    product = 0;
  for (let k = 0; k < start.length; k++) {
    const moved = end[k]! - start[k]!;
    error += (change[k]! - moved) ** 2;
    real += moved ** 2;
    linear += change[k]! ** 2;
    product += change[k]! * moved;
  }
  const trained = argmax(end, classes);
  /** Returns the share of rows for which `logits` predict the same class as f_T; null if C = 1. */
  const agreement = (logits: ArrayLike<number>): number | null => {
    const predicted = argmax(logits, classes);
    const same = predicted.filter((label, i) => label === trained[i]).length;
    return classes === 1 ? null : same / predicted.length;
  };
  return {
    relative_error: real === 0 ? null : Math.sqrt(error / real),
    cosine: real === 0 || linear === 0 ? null : product / Math.sqrt(real * linear),
    agreement: agreement(Float64Array.from(start, (value, k) => value + change[k]!)),
    agreement_start: agreement(start),
  };
}
