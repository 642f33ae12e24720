import type { RunContext } from '../../../src/api.ts';
import { modelOf } from '../../../src/data/model-folder.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { maskRow, openMaskedLm } from '../../../src/science/measures/evaluate/masked-lm.ts';
import { effectiveWeight, layerChange } from '../../../src/science/measures/weights/effective.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { openTrained } from '../../../src/science/training/adapted-model.ts';
import { breathe } from '../shared/breathe.ts';
import { assetOf, inputDir, type Metrics, writeJson, writeMetrics } from '../shared/files.ts';
import { modelParts } from '../shared/trained-model.ts';
import type { Params } from './index.ts';
import { type LayerSpectrum, layerSpectrum } from './measure.ts';

/** The field `masked_lm` of `spectrum.json`. Losses are means over masked tokens, in nats. */
interface Forgetting {
  readonly rows: number;
  readonly tokens: number;
  readonly loss_start: number;
  readonly loss: number;
  /** loss − loss_start */
  readonly forgetting: number;
}

const BATCH = 32;

/**
 * Returns the pretraining loss before and after training, on the validation split's first rows. The
 * masked-LM head is the original checkpoint's, since a base has none. Null if the checkpoint has no
 * masked-LM head, if its tokenizer has no mask token, or if the rows have nothing to mask.
 */
async function forgettingOf(
  context: RunContext<Params>,
  start: Network,
  end: Network,
): Promise<Forgetting | null> {
  const { params, progress, signal } = context;
  const { path } = await modelOf(assetOf(context, 'model'));
  const tokenizer = await openTokenizer(path);
  if (tokenizer.mask === null) return null;
  const lm = await openMaskedLm(end.architecture, { path });
  if (lm === null) return null;
  try {
    const rows = await readRows(inputDir(context, 'rows'), params.masked_rows);
    const masking = {
      vocabulary: tokenizer.vocabularySize,
      mask: tokenizer.id(tokenizer.mask),
      special: new Set(tokenizer.wrap([]).map((token) => tokenizer.id(token))),
      seed: params.seed,
    };
    const masked = rows.flatMap((row) => {
      const tokens = tokenizer.encode(row.text, row.text_pair, params.max_length);
      return maskRow(tokens, row.id, masking) ?? [];
    });
    if (masked.length === 0) return null;
    const lossOf = async (body: Network) => {
      const { sum, tokens } = await lm.loss(body, masked, BATCH, async (done, total) => {
        progress(done, total, 'masked tokens');
        await breathe(signal);
      });
      return { loss: sum / tokens, tokens };
    };
    const before = await lossOf(start);
    const after = await lossOf(end);
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

type Context = RunContext<Params>;

export async function run(context: Context): Promise<void> {
  const parts = await modelParts(context);
  const opened = async (input: string) =>
    openTrained({ ...parts, trainDir: inputDir(context, input) });
  const { network: start } = await opened('start');
  try {
    const { network: end, record } = await opened('model');
    try {
      const layers = await spectraOf(context, start, end);
      const isPretrained = context.params.drawn !== true && record.init === 'pretrained';
      const lm = isPretrained ? await forgettingOf(context, start, end) : null;
      await writeResults(context, layers, lm);
    } finally {
      end.dispose();
    }
  } finally {
    start.dispose();
  }
}

/** Computes the spectra of the layers that the adapter targets, in forward order. */
async function spectraOf(
  { params, progress, signal }: Context,
  start: Network,
  end: Network,
): Promise<LayerSpectrum[]> {
  const targets = end.linears.filter(({ name }) => end.adapter.targets.includes(name));
  const layers: LayerSpectrum[] = [];
  for (const layer of targets) {
    layers.push(
      layerSpectrum(
        end.fileName(`${layer.name}.weight`),
        await effectiveWeight(start, layer),
        await layerChange(start, end, layer),
        [layer.out, layer.in],
        params,
      ),
    );
    progress(layers.length, targets.length, 'layers');
    await breathe(signal);
  }
  return layers;
}

async function writeResults(
  { params: { energy, vectors, cosine }, outDir, log, warn }: Context,
  layers: readonly LayerSpectrum[],
  lm: Forgetting | null,
): Promise<void> {
  const spectra = spectraMetrics(layers);
  await writeJson(outDir, 'spectrum.json', { energy, vectors, cosine, masked_lm: lm, layers }, 1);
  await writeMetrics(outDir, { ...spectra, ...(lm === null ? {} : forgettingMetrics(lm)) });
  log(
    `${layers.length} layers: effective rank ${spectra.effective_rank.toFixed(1)} on average, ` +
      `${spectra.intruder_dimensions} intruder dimensions among ${spectra.vectors} vectors`,
  );
  if (spectra.change === 0)
    warn({
      path: [],
      message: 'ΔW is zero in every layer: no weight of a layer was trained, or no step moved one',
    });
  log(
    lm === null
      ? 'no forgetting: the checkpoint has no pretrained masked-LM head'
      : `masked-LM loss ${lm.loss_start.toFixed(3)} before training, ${lm.loss.toFixed(3)} ` +
          `after, over ${lm.tokens} tokens of ${lm.rows} rows`,
  );
}

const forgettingMetrics = ({ tokens, loss_start, loss, forgetting }: Forgetting): Metrics => ({
  masked_tokens: tokens,
  masked_lm_loss_start: loss_start,
  masked_lm_loss: loss,
  forgetting,
});

function spectraMetrics(layers: readonly LayerSpectrum[]) {
  const sum = (get: (layer: LayerSpectrum) => number): number =>
    layers.reduce((total, layer) => total + get(layer), 0);
  const change = Math.sqrt(sum((layer) => layer.change ** 2));
  const initial = Math.sqrt(
    sum((layer) => (layer.change === 0 ? 0 : (layer.change / layer.relative_change) ** 2)),
  );
  const vectors = sum(({ cosines }) => cosines.length);
  const intruders = sum(({ intruder_dimensions: own }) => own);
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
