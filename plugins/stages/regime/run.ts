import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import { type KernelPoint, pointName, type RunContext, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { predict } from '../../../src/science/measures/evaluate/predict.ts';
import { writeNpy } from '../../../src/science/models/io/npy.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { logitsOf, outputsOf, rowOutputs } from '../../../src/science/models/outputs.ts';
import type { OutputsOf, TokenRow } from '../../../src/science/models/types.ts';
import {
  endStep,
  openRowEncoder,
  openTrained,
} from '../../../src/science/training/adapted-model.ts';
import { inputDir, type Metrics, readMetrics, writeJson, writeMetrics } from '../shared/files.ts';
import { type ModelParts, modelParts } from '../shared/trained-model.ts';
import type { Params } from './index.ts';
import {
  displacement,
  type LinearFit,
  linearFit,
  linearise,
  type Linearised,
} from './linearised.ts';

/** One point of the training, compared with its start. */
interface Point {
  readonly at: string;
  readonly step: number;
  readonly kernels: {
    readonly [K in 'lora' | 'full']?: {
      readonly drift: number;
      readonly rotation: number;
      /**
       * For projected kernels: the larger of the two standard errors, each as a share of its
       * kernel's norm.
       */
      readonly error?: number;
    };
  };
  readonly linear: LinearFit;
}

/** The model at one point, and how far training moved it. */
interface Reached {
  readonly step: number;
  readonly logits: Float32Array; // (N, C)
  /** Θ_T − Θ₀ by name. The caller must dispose of it. */
  readonly displacement: Map<string, Tensor>;
}

type Context = RunContext<Params>;

export async function run(context: Context): Promise<void> {
  const { params, outDir } = context;
  const rows = await readRows(inputDir(context, 'rows'), params.rows);
  if (rows.length === 0)
    throw new UserFault('the split on which the linearised model predicts has no rows');
  const ntk = await readMetrics(inputDir(context, 'ntk'));
  const parts = await modelParts(context);
  const encode = await openRowEncoder(inputDir(context, 'model'), parts.model);
  const encoded = rows.map((row) => encode(row, params.max_length));
  const { network: start } = await openTrained({
    ...parts,
    trainDir: inputDir(context, 'start'),
  });
  const outputs = outputsOf(start);
  const asked = [...(params.steps ?? []), 'final' as const];
  const points: Point[] = [];
  try {
    for (const [index, at] of asked.entries()) {
      const progress: Context['progress'] = (done, total, unit) => {
        context.progress(index * total + done, asked.length * total, unit);
      };
      const reached = await reach(context, parts, start, at, encoded);
      try {
        const linearised = await linearise(start, reached.displacement, encoded, {
          progress,
          signal: context.signal,
        });
        const shape = [rows.length, outputs.count];
        if (index === 0)
          await writeNpy(join(outDir, 'logits-init.npy'), { shape, data: linearised.start });
        await writeLogits(outDir, at, shape, linearised, reached);
        const point = compare(at, outputs.count, linearised, reached, ntk);
        points.push(point);
        context.log(logLine(params.optimizer, point));
      } finally {
        reached.displacement.forEach((tensor) => tensor.dispose());
      }
    }
  } finally {
    start.dispose();
  }
  await writeResults(context, points, rows.length, outputs.of);
}

/** Opens the model at one point of the training, predicts with it, and disposes of it. */
async function reach(
  context: Context,
  parts: ModelParts,
  start: Network,
  at: number | 'final',
  rows: readonly TokenRow[],
): Promise<Reached> {
  const { network: end, record } = await openTrained({
    ...parts,
    trainDir: inputDir(context, 'model'),
    ...(at === 'final' ? {} : { at }),
  });
  try {
    return {
      step: at === 'final' ? endStep(record) : at,
      logits: await predict(
        {
          classes: outputsOf(end).count,
          logits: logitsOf(end),
          forward: (batch) => rowOutputs(end, batch),
        },
        rows,
        context.params.batch_size,
      ),
      displacement: displacement(start, end),
    };
  } finally {
    end.dispose();
  }
}

async function writeLogits(
  outDir: string,
  at: KernelPoint,
  shape: readonly number[],
  { start, change }: Linearised,
  { logits }: Reached,
): Promise<void> {
  const name = pointName(at);
  const linear = at === 'final' ? 'logits-linear.npy' : `logits-linear-${name}.npy`;
  await writeNpy(join(outDir, linear), {
    shape,
    data: start.map((value, k) => value + change[k]!), // f₀ + J₀v
  });
  await writeNpy(join(outDir, `logits-${name}.npy`), { shape, data: logits });
}

/** @param ntk the metrics of the ntk stage, which has compared the kernels at these points */
function compare(
  at: number | 'final',
  classes: number,
  { start, change }: Linearised,
  { step, logits }: Reached,
  ntk: Metrics,
): Point {
  const prefix = at === 'final' ? '' : `${pointName(at)}.`;
  const kernels = Object.fromEntries(
    (['lora', 'full'] as const).flatMap((kind) => {
      const { [`${prefix}${kind}.drift`]: drift, [`${prefix}${kind}.rotation`]: rotation } = ntk;
      const error = ntk[`${prefix}${kind}.error`];
      return drift === undefined || rotation === undefined
        ? []
        : [[kind, { drift, rotation, ...defined({ error }) }]];
    }),
  );
  return { at: pointName(at), step, kernels, linear: linearFit(start, change, logits, classes) };
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
  const end = points.at(-1);
  if (end === undefined) throw new Error('no point of the training was looked at');
  const { optimizer, learning_rate } = params;
  const { step: steps, kernels, linear } = end;
  await writeJson(outDir, 'regime.json', {
    optimizer,
    learning_rate,
    steps,
    rows,
    outputs,
    kernels,
    linear,
    ...(along.length > 0 ? { along } : {}),
  });
  await writeMetrics(outDir, Object.fromEntries(points.flatMap(flatten)));
}

/**
 * Returns a point's numbers by name. Those of a kept step have the step's name as prefix; those of
 * the end have no prefix.
 */
function flatten({ at, kernels, linear }: Point): [string, number][] {
  const prefix = at === 'final' ? '' : `${at}.`;
  return [
    ...Object.entries(kernels).flatMap(([kind, numbers]) =>
      Object.entries(numbers).map(([name, value]): [string, number] => [
        `${prefix}${kind}.${name}`,
        value,
      ]),
    ),
    ...Object.entries(linear).flatMap(([name, value]: [string, number | null]) =>
      value === null ? [] : [[`${prefix}linear.${name}`, value] satisfies [string, number]],
    ),
  ];
}
