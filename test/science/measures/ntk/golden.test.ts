/**
 * Kernels and Fisher spectra of the tiny BERT, and of a verbalizer's logits, against PyTorch in
 * double precision: test/golden/ntk.py.
 */
import { suite } from 'uvu';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { backends, useBackend } from '../../backend.ts';
import { openTiny } from '../../tiny-bert.ts';
import { openMlm } from '../../tiny-mlm.ts';
import { assertReference, readReference } from './fixture/golden.ts';

const test = suite('ntk against PyTorch');

for (const backend of backends) {
  for (const kind of ['lora', 'full'] as const) {
    for (const method of ['auto', 'explicit', 'gram'] as const) {
      test(`${backend}: a tiny BERT under ${kind}, ${method}`, async () => {
        await useBackend(backend);
        const model = adaptedModel(await openTiny(kind, true));
        try {
          await assertReference(model, await readReference(`ntk-tiny-${kind}`), {
            method,
            batchTokens: 64,
          });
        } finally {
          model.dispose();
        }
      });
    }
  }

  test(
    `${backend}: a cloze prompt's verbalizer under LoRA, with the head's transform among the ` +
      'layers',
    async () => {
      await useBackend(backend);
      const model = adaptedModel(await openMlm('lora', true));
      try {
        await assertReference(model, await readReference('ntk-tiny-mlm'), { batchTokens: 64 });
      } finally {
        model.dispose();
      }
    },
  );
}

test.run();
