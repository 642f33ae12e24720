/** Kernels and Fisher spectra of MiniLM against PyTorch in double precision: test/golden/ntk.py. */
import { suite } from 'uvu';
import { backends, useBackend } from '../../backend.ts';
import { miniLM } from '../../minilm.ts';
import { assertReference, readReference } from './fixture/golden.ts';
import { openMiniLM } from './fixture/minilm.ts';

const test = suite("MiniLM's kernels against PyTorch");

const path = await miniLM();

// Plain JavaScript would take minutes over 22 million parameters.
for (const backend of backends.filter((name) => name !== 'cpu')) {
  test(`${backend}: single sentences, pairs, 3 to 30 tokens`, async () => {
    await useBackend(backend);
    const model = await openMiniLM(path);
    try {
      await assertReference(model, await readReference('ntk-minilm'), { batchTokens: 64 });
    } finally {
      model.dispose();
    }
  });
}

test.run();
