import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AdapterDescriptor, JsonObject, ModelDescriptor, RunContext } from '../../src/api.ts';
import {
  beforeTraining,
  defineStage,
  inOrder,
  pointName,
  startInputs,
  UserFault,
} from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { LinearFit } from '../../src/science/ntk/linearised.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
  /** The tangent kernel describes SGD; a figure names what it was trained with. */
  readonly optimizer: string;
  readonly learning_rate: number;
  readonly rows: number;
  readonly max_length: number;
  readonly batch_size: number;
  /** Kept steps that are looked at beside the end, ascending; left out where there is none. */
  readonly steps?: readonly number[];
}

/** One point of the training against its start. */
interface Point {
  readonly at: string;
  readonly step: number;
  readonly kernels: {
    readonly [K in 'lora' | 'full']?: {
      readonly drift: number;
      readonly rotation: number;
      /** The larger standard error of the two kernels, a share of their norms, where they are projected. */
      readonly error?: number;
    };
  };
  readonly linear: LinearFit;
}

async function run(context: RunContext): Promise<void> {
  const [
    files,
    { startingModel },
    { endStep, openRowEncoder, openTrained },
    { displacement, linearFit, linearise },
    { predict },
    { writeNpy },
  ] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/data/model-folder.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/ntk/linearised.ts'),
    import('../../src/science/evaluate/predict.ts'),
    import('../../src/science/io/npy.ts'),
  ]);
  const params = context.params as unknown as Params;
  const rows = await files.readRows(context.inputs['rows']!.dir, params.rows);
  if (rows.length === 0)
    throw new UserFault('the split that the linearised prediction is of has no row');
  const ntk = JSON.parse(
    await readFile(join(context.inputs['ntk']!.dir, 'metrics.json'), 'utf8'),
  ) as Record<string, number>;
  const model = await startingModel(context);
  const encode = await openRowEncoder(context.inputs['model']!.dir, model);
  const encoded = rows.map((row) => encode(row, params.max_length));
  const parts = {
    model,
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    adapter: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter)
      .load(),
  };
  const { network: start } = await openTrained({
    ...parts,
    trainDir: context.inputs['start']!.dir,
  });
  const { optimizer, learning_rate: rate } = params;
  const points: Point[] = [];
  const asked = [...(params.steps ?? []), 'final' as const];
  try {
    for (const [index, at] of asked.entries()) {
      const { network: end, record } = await openTrained({
        ...parts,
        trainDir: context.inputs['model']!.dir,
        ...(at === 'final' ? {} : { at }),
      });
      let reached: Float32Array;
      let v: ReturnType<typeof displacement>;
      try {
        reached = await predict(end, encoded, params.batch_size);
        v = displacement(start, end);
      } finally {
        end.dispose();
      }
      try {
        const { start: initial, change } = await linearise(start, v, encoded, {
          progress: (done, total, unit) => {
            context.progress(index * total + done, asked.length * total, unit);
          },
          signal: context.signal,
        });
        const shape = [rows.length, start.classes];
        const name = pointName(at),
          step = at === 'final' ? endStep(record) : at;
        if (index === 0)
          await writeNpy(join(context.outDir, 'logits-init.npy'), { shape, data: initial });
        await writeNpy(
          join(context.outDir, at === 'final' ? 'logits-linear.npy' : `logits-linear-${name}.npy`),
          { shape, data: initial.map((value, k) => value + change[k]!) },
        );
        await writeNpy(join(context.outDir, `logits-${name}.npy`), { shape, data: reached });
        const prefix = at === 'final' ? '' : `${name}.`;
        const kernels = Object.fromEntries(
          (['lora', 'full'] as const).flatMap((kind) => {
            const drift = ntk[`${prefix}${kind}.drift`],
              rotation = ntk[`${prefix}${kind}.rotation`],
              error = ntk[`${prefix}${kind}.error`];
            return drift === undefined || rotation === undefined
              ? []
              : [[kind, { drift, rotation, ...(error === undefined ? {} : { error }) }]];
          }),
        );
        const linear = linearFit(initial, change, reached, start.classes);
        points.push({ at: name, step, kernels, linear });
        context.log(
          `${optimizer}, ${step} steps: the linearised prediction's relative error is ${linear.relative_error?.toFixed(3) ?? 'undefined, nothing moved'}`,
        );
      } finally {
        v.forEach((tensor) => tensor.dispose());
      }
    }
  } finally {
    start.dispose();
  }
  const { step: steps, kernels, linear } = points.at(-1)!;
  await writeFile(
    join(context.outDir, 'regime.json'),
    `${JSON.stringify({ optimizer, learning_rate: rate, steps, rows: rows.length, kernels, linear, ...(points.length > 1 ? { along: points.slice(0, -1) } : {}) }, null, 2)}\n`,
  );
  await writeFile(
    join(context.outDir, 'metrics.json'),
    `${JSON.stringify(Object.fromEntries(points.flatMap(flatten)), null, 2)}\n`,
  );
}

/** Of the end under plain names, of a kept step under its own. */
function flatten({ at, kernels, linear }: Point): [string, number][] {
  const prefix = at === 'final' ? '' : `${at}.`;
  return [
    ...Object.entries(kernels).flatMap(([kind, numbers]) =>
      Object.entries(numbers).map(([name, value]): [string, number] => [
        `${prefix}${kind}.${name}`,
        value,
      ]),
    ),
    ...Object.entries(linear).flatMap(([name, value]): [string, number][] =>
      value === null ? [] : [[`${prefix}linear.${name}`, value as number]],
    ),
  ];
}

export default defineStage({
  name: 'regime',
  summary:
    "Checks whether training stayed in the tangent kernel's regime: how far the kernel drifted, and the linearised model's prediction against the trained one's.",
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    const steps = inOrder(cell.ntk.at).filter((at) => typeof at === 'number');
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        optimizer: cell.train.optimizer,
        learning_rate: cell.train.learning_rate,
        rows: cell.ntk.rows,
        max_length: cell.train.max_length,
        batch_size: cell.evaluate.batch_size,
        ...(steps.length > 0 ? { steps } : {}),
      } satisfies Params,
      inputs: {
        start: { kind: 'train', cell: beforeTraining(cell) },
        model: { kind: 'train', cell },
        ntk: {
          kind: 'ntk',
          cell: { ...cell, ntk: { ...cell.ntk, at: ['init', ...steps, 'final'] } },
        },
        rows: { kind: 'data', cell, with: { split: cell.ntk.split } },
        ...startInputs(cell),
      },
      assets: { model: cell.model.source },
      uses: [
        { kind: 'model', name: cell.model.architecture },
        { kind: 'adapter', name: cell.adapter.type },
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});
