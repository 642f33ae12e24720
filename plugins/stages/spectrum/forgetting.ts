/**
 * Measures how much a training forgot of the masked-language modelling that the checkpoint was
 * pretrained on.
 */
import type { RunContext } from '../../../src/api.ts';
import { modelOf } from '../../../src/data/model-folder.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import { maskRow, openMaskedLm } from '../../../src/science/measures/evaluate/masked-lm.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { breathe } from '../shared/breathe.ts';
import { assetOf, inputDir } from '../shared/files.ts';
import type { Params } from './index.ts';

/** The field `masked_lm` of `spectrum.json`. Losses are means over masked tokens, in nats. */
export interface Forgetting {
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
export async function forgettingOf(
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
