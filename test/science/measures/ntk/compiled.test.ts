/** Kernels have the same bits whether their passes and contractions are compiled or not. */
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { measureDelta } from '../../../../plugins/stages/delta/run.ts';
import { pairKernels } from '../../../../plugins/stages/divergence/between.ts';
import { type KernelSet, kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import type { AdaptedModel } from '../../../../src/science/models/types.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { prepareCompiling } from '../../../../src/tensor/compiled/compiled.ts';
import { present } from '../../../rig/present.ts';
import { folder, openAdapter, SPECS } from '../../adapters-golden.ts';
import { backends, useBackend } from '../../backend.ts';
import { assertSame } from '../../compiled-same.ts';
import { openCase, openFamily } from '../../family-cases.ts';
import { openTiny, rows as allRows } from '../../tiny-bert.ts';

const rows = allRows.slice(0, 5);
/** Several batches of each set, so that one function serves several of them. */
const batchTokens = 24;

const digest = (values: Float32Array | Float64Array): string =>
  createHash('sha256').update(values).digest('hex').slice(0, 12);

const bits = ({ full, lora, logits }: KernelSet): unknown => ({
  full: full === null ? null : digest(full.data),
  lora: lora === null ? null : digest(lora.data),
  logits: digest(logits),
});

async function withModel<T>(
  open: Promise<AdaptedModel>,
  use: (model: AdaptedModel) => Promise<T>,
): Promise<T> {
  const model = await open;
  try {
    return await use(model);
  } finally {
    model.dispose();
  }
}

const tiny = async (kind: 'full' | 'lora'): Promise<AdaptedModel> =>
  adaptedModel(await openTiny(kind, true));

const adapted = async (name: string, which: 'start' | 'end'): Promise<AdaptedModel> =>
  adaptedModel(
    await openAdapter(present(SPECS[name]).implementation, { folder: folder(name, which) }, true),
  );

if (backends.includes('tensorflow')) {
  for (const kind of ['full', 'lora'] as const)
    for (const method of ['auto', 'explicit', 'gram'] as const)
      test(`${kind}, ${method}`, async () => {
        await useBackend('tensorflow');
        await withModel(tiny(kind), (model) =>
          assertSame(
            async () => bits(await kernelSet(model, rows, { method, batchTokens })),
            method,
          ),
        );
      });

  test('several passes over the rows, and a projection', async () => {
    await useBackend('tensorflow');
    await withModel(tiny('lora'), (model) =>
      assertSame(async () => {
        const few = await kernelSet(model, rows, { batchTokens, memoryMB: 0.25 });
        assert.ok(few.groups.length > 1);
        const projection = { dimension: 8, replicates: 2, seed: 1 };
        return [bits(few), bits(await kernelSet(model, rows, { batchTokens, projection }))];
      }, 'passes'),
    );
  });

  for (const name of ['dora', 'pissa', 'vera'])
    test(`${name}: kernels at the end of training`, async () => {
      await useBackend('tensorflow');
      await withModel(adapted(name, 'end'), (model) =>
        assertSame(async () => bits(await kernelSet(model, rows, { batchTokens })), name),
      );
    });

  // Among them tables of relative positions, layers that are used twice, and log p(answer).
  for (const name of [
    ...'bert-cloze deberta-v2-cloze-p2c deberta-v3-classifier distilbert-classifier'.split(' '),
    ...'gpt2-causal llama-causal modernbert-classifier-mean roberta-cloze'.split(' '),
  ])
    test(`${name}: kernels under LoRA`, async () => {
      await useBackend('tensorflow');
      const own = await openCase(name);
      await withModel(openFamily(own, 'lora', true).then(adaptedModel), (model) =>
        assertSame(
          async () => bits(await kernelSet(model, own.rows.slice(0, 3), { batchTokens })),
          name,
        ),
      );
    });

  test("Δ_r and M'", async () => {
    await useBackend('tensorflow');
    await withModel(tiny('lora'), (model) =>
      assertSame(
        async () => [
          await measureDelta(model, rows, { batchTokens }),
          await pairKernels(model, rows, allRows.slice(9, 14), { batchTokens }),
        ],
        'delta and pairs',
      ),
    );
  });
}

test.after(() => {
  if (backends.includes('tensorflow')) prepareCompiling();
});

test.run();
