import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AdapterDescriptor, JsonObject, ModelDescriptor, RunContext } from '../../src/api.ts';
import { beforeTraining, defineStage, startInputs } from '../../src/api.ts';
import type { TrainRecord } from '../../src/science/nn/adapted-model.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Network } from '../../src/science/nn/network.ts';
import type { Architecture } from '../../src/science/nn/types.ts';
import type { LayerSpectrum, SpectrumOptions } from '../../src/science/weights/spectrum.ts';

interface Params extends SpectrumOptions {
  readonly architecture: string;
  readonly adapter: string;
  /** Of the masking. */
  readonly seed: number;
  /** The validation split's first rows, whose tokens are masked. */
  readonly masked_rows: number;
  readonly max_length: number;
  /** The base was trained from random weights. */
  readonly drawn?: true;
}

/** `spectrum.json`'s `masked_lm`: in nats a token. */
interface Forgetting {
  readonly rows: number;
  readonly tokens: number;
  readonly loss_start: number;
  readonly loss: number;
  /** loss − loss_start */
  readonly forgetting: number;
}

/** The pretraining loss at the start and the end, through the head of the checkpoint that `modelDir` holds (a base has none); null where the checkpoint has no masked-LM head, or nothing was pretrained. */
async function forgetting(
  context: RunContext,
  params: Params,
  modelDir: string,
  start: Network,
  end: Network,
  init: TrainRecord['init'],
): Promise<Forgetting | null> {
  const [{ readRows }, { maskRow, openMaskedLm }, { openTokenizer }] = await Promise.all([
    import('../../src/data/rows-file.ts'),
    import('../../src/science/evaluate/masked-lm.ts'),
    import('../../src/science/text/tokenizer.ts'),
  ]);
  const tokenizer = await openTokenizer(modelDir);
  const lm =
    init === 'random' || tokenizer.mask === null
      ? null
      : await openMaskedLm(end.architecture, { path: modelDir });
  if (lm === null) return null;
  try {
    const rows = await readRows(context.inputs['rows']!.dir, params.masked_rows);
    const masking = {
      vocabulary: tokenizer.vocabularySize,
      mask: tokenizer.id(tokenizer.mask!),
      special: new Set(tokenizer.wrap([]).map(tokenizer.id)),
      seed: params.seed,
    };
    const masked = rows.flatMap(
      (row) =>
        maskRow(tokenizer.encode(row.text, row.text_pair, params.max_length), row.id, masking) ??
        [],
    );
    if (masked.length === 0) return null;
    const mean = async (
      body: Network,
    ): Promise<{ readonly loss: number; readonly tokens: number }> => {
      const { sum, tokens } = await lm.loss(body, masked, 32, async (done, total) => {
        context.progress(done, total, 'masked tokens');
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
        context.signal.throwIfAborted();
      });
      return { loss: sum / tokens, tokens };
    };
    const before = await mean(start),
      after = await mean(end);
    return {
      rows: masked.length,
      tokens: after.tokens,
      loss_start: before.loss,
      loss: after.loss,
      forgetting: after.loss - before.loss,
    };
  } finally {
    lm.dispose();
  }
}

async function run(context: RunContext): Promise<void> {
  const [
    { modelOf, startingModel },
    { openTrained },
    { effectiveWeight, layerChange },
    { layerSpectrum },
  ] = await Promise.all([
    import('../../src/data/model-folder.ts'),
    import('../../src/science/nn/adapted-model.ts'),
    import('../../src/science/weights/effective.ts'),
    import('../../src/science/weights/spectrum.ts'),
  ]);
  const params = context.params as unknown as Params;
  const model = await startingModel(context);
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
  try {
    const { network: end, record } = await openTrained({
      ...parts,
      trainDir: context.inputs['model']!.dir,
    });
    try {
      const targets = end.linears.filter(({ name }) => end.adapter.targets.includes(name));
      const layers: LayerSpectrum[] = [];
      for (const [index, layer] of targets.entries()) {
        layers.push(
          layerSpectrum(
            end.fileName(`${layer.name}.weight`),
            await effectiveWeight(start, layer),
            await layerChange(start, end, layer),
            [layer.out, layer.in],
            params,
          ),
        );
        context.progress(index + 1, targets.length, 'layers');
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
        context.signal.throwIfAborted();
      }
      const lm = await forgetting(
        context,
        params,
        (await modelOf(context.assets['model']!)).path,
        start,
        end,
        params.drawn ? 'random' : record.init,
      );
      const metrics: Record<string, number> = {
        ...summary(layers),
        ...(lm === null
          ? {}
          : {
              masked_tokens: lm.tokens,
              masked_lm_loss_start: lm.loss_start,
              masked_lm_loss: lm.loss,
              forgetting: lm.forgetting,
            }),
      };
      await writeFile(
        join(context.outDir, 'spectrum.json'),
        `${JSON.stringify({ energy: params.energy, vectors: params.vectors, cosine: params.cosine, masked_lm: lm, layers }, null, 1)}\n`,
      );
      await writeFile(
        join(context.outDir, 'metrics.json'),
        `${JSON.stringify(metrics, null, 2)}\n`,
      );
      context.log(
        `${layers.length} layers: effective rank ${metrics['effective_rank']!.toFixed(1)} on average, ${metrics['intruder_dimensions']} intruder dimensions among ${metrics['vectors']} vectors`,
      );
      context.log(
        lm === null
          ? 'no forgetting: the checkpoint has no pretrained masked-LM head'
          : `masked-LM loss ${lm.loss_start.toFixed(3)} before training, ${lm.loss.toFixed(3)} after, over ${lm.tokens} tokens of ${lm.rows} rows`,
      );
    } finally {
      end.dispose();
    }
  } finally {
    start.dispose();
  }
}

function summary(layers: readonly LayerSpectrum[]): Record<string, number> {
  const sum = (get: (layer: LayerSpectrum) => number): number =>
    layers.reduce((total, layer) => total + get(layer), 0);
  const change = Math.sqrt(sum((layer) => layer.change ** 2));
  const initial = Math.sqrt(
    sum((layer) => (layer.change === 0 ? 0 : (layer.change / layer.relative_change) ** 2)),
  );
  const vectors = sum(({ cosines }) => cosines.length),
    intruders = sum(({ intruder_dimensions: own }) => own);
  return {
    layers: layers.length,
    effective_rank: sum(({ effective_rank: rank }) => rank) / layers.length,
    effective_rank_largest: Math.max(...layers.map(({ effective_rank: rank }) => rank)),
    stable_rank: sum(({ stable_rank: rank }) => rank) / layers.length,
    change,
    relative_change: change === 0 ? 0 : change / initial,
    vectors,
    intruder_dimensions: intruders,
    intruder_share: intruders / vectors,
  };
}

export default defineStage({
  name: 'spectrum',
  summary:
    "Decomposes what training did to each adapted layer's effective weight: singular values of ΔW, its effective rank, and intruder dimensions; and what was forgotten of masked-language modelling.",
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    const { energy, intruder_vectors: vectors, intruder_cosine: cosine } = cell.theory;
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
        energy,
        vectors,
        cosine,
        seed: cell.seed,
        masked_rows: cell.theory.masked_rows,
        max_length: cell.train.max_length,
        ...(cell.base !== undefined && cell.model.init === 'random'
          ? { drawn: true as const }
          : {}),
      } satisfies Params,
      inputs: {
        start: { kind: 'train', cell: beforeTraining(cell) },
        model: { kind: 'train', cell },
        // Clean texts of the task: what the corpus of pretraining was, no checkpoint holds.
        rows: { kind: 'data', cell, with: { split: 'validation' } },
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
