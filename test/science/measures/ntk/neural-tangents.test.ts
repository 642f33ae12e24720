/** Kernels against google/neural-tangents in double precision: test/golden/ntk_mlp.py. */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import type { TokenRow } from '../../../../src/science/models/types.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { relative } from './fixture/compare.ts';
import { type Matrix, tokenMlp } from './fixture/token-mlp.ts';

const test = suite('kernels against neural-tangents');

interface Reference {
  readonly classes: number;
  readonly rank: number;
  readonly scale: number;
  readonly rows: readonly (readonly number[])[];
  readonly weights: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly full: readonly number[];
  readonly lora: readonly number[];
}

const reference = JSON.parse(
  await readFile(new URL('../../../golden/ntk-mlp/reference.json', import.meta.url), 'utf8'),
) as Reference;
const tokens = (ids: readonly number[]): TokenRow => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
});
const rows = reference.rows.map(tokens);
const weights = new Map(
  Object.entries(reference.weights).map(([name, values]): [string, Matrix] => [
    name,
    {
      rows: values.length,
      columns: present(values[0]).length,
      data: Float64Array.from(values.flat()),
    },
  ]),
);

for (const backend of backends) {
  for (const method of ['explicit', 'gram', 'plain'] as const) {
    test(`${backend}, ${method}: the kernels of rows`, async () => {
      await useBackend(backend);
      const model = tokenMlp({
        classes: reference.classes,
        weights,
        lora: { rank: reference.rank, scale: reference.scale },
      });
      for (const kind of ['full', 'lora'] as const) {
        const own = await kernelSet(model, rows, { method, batchTokens: 6 });
        assert.ok(
          relative(present(own[kind]).data, reference[kind]) < tolerance.double,
          `${kind}: ${relative(present(own[kind]).data, reference[kind])}`,
        );
      }
      model.dispose();
    });
  }
}

test.run();
