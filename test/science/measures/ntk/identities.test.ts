/**
 * The identities of docs/theory.md, on a BERT: rows of 3 to 29 tokens, attention across them, a
 * last layer of [CLS] rows only. They are tested on TensorFlow with the chosen contractions, and on
 * the plain reference.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Rank } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { BackendName } from '../../../../src/api.ts';
import { collect } from '../../../../src/science/measures/ntk/collect.ts';
import { type KernelOptions, kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import type { AdaptedModel, LoraFactors } from '../../../../src/science/models/types.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { symmetricEigenvalues } from '../../../../src/tensor/linalg.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { kernels } from '../../kernels.ts';
import { openTiny, rows as allRows } from '../../tiny-bert.ts';
import { relative } from './fixture/compare.ts';
import { readReference } from './fixture/golden.ts';
import { deltaMatrix, frobenius, gaussian, orthogonal } from './fixture/matrices.ts';

const test = suite('identities of the kernels');
let full: AdaptedModel,
  lora: AdaptedModel,
  opened: BackendName | null = null;

function close(): void {
  if (opened === null) return;
  full.dispose();
  lora.dispose();
}

/** The two models on one backend, kept until another backend is asked for. */
async function open(backend: BackendName): Promise<void> {
  if (opened === backend) return;
  close();
  await useBackend(backend);
  full = adaptedModel(await openTiny('full', true));
  lora = adaptedModel(await openTiny('lora', true));
  opened = backend;
}
test.after(close);

const rows = allRows.slice(0, 7),
  C = 3,
  size = rows.length * C;

interface Host {
  readonly r: number;
  readonly n: number;
  readonly A: Float64Array;
  readonly scale: number;
}

/** The full model as LoRA at B = 0: the factors change nothing that the model computes. */
function withFactors(
  factorsOf: (layer: string, n: number) => Host,
  only: (layer: string, n: number) => boolean = () => true,
): AdaptedModel & { free(): void } {
  const made: LoraFactors[] = [];
  const layers = full.layers
    .filter(({ name, in: n }) => only(name, n))
    .map((layer) => {
      const { r, n, A, scale } = factorsOf(layer.name, layer.in);
      const factors = {
        A: tf.keep(tf.tensor2d(Float32Array.from(A), [r, n])),
        B: tf.keep(tf.zeros<Rank.R2>([layer.out, r])),
        scale,
      };
      made.push(factors);
      return { ...layer, lora: factors };
    });
  return {
    ...full,
    layers,
    free: () => {
      made.forEach(({ A, B }) => {
        A.dispose();
        B.dispose();
      });
    },
  };
}

const difference = (a: Float64Array, b: Float64Array): Float64Array =>
  a.map((value, i) => value - present(b[i]));

/**
 * Σ_{t,u} weight(t, u) · (δ^c_t·δ^d_u) x_tᵀ M x'_u of one layer, plainly, in double precision. If M
 * is null, it is the identity.
 */
function direct(
  model: AdaptedModel,
  layer: string,
  M: Float64Array | null,
  counts: (t: number, u: number) => boolean = () => true,
): Float64Array {
  const collected = collect(model, rows, new Set([layer]));
  const { h, deltas, example } = present(collected.layers.get(layer));
  const [S, n] = h.shape,
    m = present(deltas[0]).shape[1];
  const x = h.dataSync<'float32'>(),
    d = deltas.map((delta) => delta.dataSync<'float32'>());
  collected.dispose();
  const place = new Int32Array(S),
    met = new Map<number, number>(); // each token's place in its row
  example.forEach((row, t) => {
    place[t] = met.get(row) ?? 0;
    met.set(row, place[t] + 1);
  });
  const Mx =
    M === null
      ? Float64Array.from(x)
      : Float64Array.from({ length: S * n }, (_, k) => {
          const t = Math.floor(k / n),
            i = k % n;
          let sum = 0;
          for (let j = 0; j < n; j++) sum += present(M[i * n + j]) * present(x[t * n + j]);
          return sum;
        });
  const K = new Float64Array(size * size);
  for (let t = 0; t < S; t++) {
    for (let u = 0; u < S; u++) {
      if (!counts(present(place[t]), present(place[u]))) continue;
      let inputs = 0;
      for (let i = 0; i < n; i++) inputs += present(x[t * n + i]) * present(Mx[u * n + i]);
      for (let c = 0; c < C; c++) {
        for (let e = 0; e < C; e++) {
          let outputs = 0;
          for (let i = 0; i < m; i++)
            outputs += present(d[c]![t * m + i]) * present(d[e]![u * m + i]);
          K[(present(example[t]) * C + c) * size + present(example[u]) * C + e]! +=
            outputs * inputs;
        }
      }
    }
  }
  return K;
}

const ways: readonly { readonly backend: BackendName; readonly options: KernelOptions }[] = [
  ...backends
    .filter((backend) => backend === 'tensorflow')
    .map((backend) => ({ backend, options: {} })),
  { backend: 'cpu', options: { method: 'plain' } },
];

for (const { backend, options } of ways) {
  const check = (what: string, run: () => Promise<void>): void => {
    test(`${backend}, ${options.method ?? 'as chosen'}: ${what}`, async () => {
      await open(backend);
      await run();
    });
  };

  check("(1) at B = 0, K_LoRA − K_ff = Δ_r = Σ (δ·δ')(hᵀ M_Δ h'), M_Δ = s²AᵀA − I", async () => {
    const hosts = new Map<string, Host>();
    const model = withFactors((layer, n) => {
      const host = { r: 5, n, A: gaussian(5, n, 0.4, layer), scale: 1.7 };
      hosts.set(layer, host);
      return host;
    });
    const found = await kernels(model, rows, options);
    const expected = new Float64Array(size * size);
    for (const [layer, { r, n, A, scale }] of hosts) {
      direct(full, layer, deltaMatrix(A, r, n, scale)).forEach((value, k) => {
        expected[k]! += value;
      });
    }
    const error =
      frobenius(difference(difference(present(found.lora), found.full), expected)) /
      frobenius(found.full);
    assert.ok(error < tolerance.rounding, String(error));
    assert.ok(frobenius(expected) > 0.1 * frobenius(found.full), 'Δ_r is no small part of it');
    model.free();
  });

  for (const r of [2, 11, 22]) {
    check(
      `(2) over the ${22 / r} row blocks of A = σ√n·Q, rank ${r}, K_LoRA(B = 0) averages to ` +
        's²rσ²·K_ff exactly',
      async () => {
        const n = 22,
          std = 0.3,
          scale = 2.5;
        const Q = orthogonal(n, 'Q');
        const mean = new Float64Array(size * size);
        const alone = { ...full, layers: full.layers.filter(({ in: width }) => width === n) };
        const K = present(
          (await kernelSet(alone, rows, { ...options, which: ['full'] })).full,
        ).data;
        for (let block = 0; block < n / r; block++) {
          const A = Q.subarray(block * r * n, (block + 1) * r * n).map(
            (value) => std * Math.sqrt(n) * value,
          );
          const model = withFactors(
            () => ({ r, n, A, scale }),
            (_, width) => width === n,
          );
          const found = await kernelSet(model, rows, { ...options, which: ['lora'] });
          present(found.lora).data.forEach((value, k) => {
            mean[k]! += (value * r) / n;
          });
          model.free();
        }
        const error = relative(
          mean,
          K.map((value) => scale ** 2 * r * std ** 2 * value),
        );
        assert.ok(error < tolerance.rounding, String(error));
      },
    );
  }

  check('(3) both kernels are positive semi-definite', async () => {
    const { full: K, lora: L } = await kernels(lora, rows, options);
    for (const kernel of [K, present(L)]) {
      const spectrum = symmetricEigenvalues(kernel, size);
      assert.ok(
        present(spectrum[size - 1]) > -1e-6 * present(spectrum[0]),
        `${spectrum[size - 1]} under ${spectrum[0]}`,
      );
    }
  });

  check('(4) every faster contraction equals the plain one', async () => {
    const plain = await kernels(lora, rows, { method: 'plain' });
    for (const method of ['explicit', 'gram', 'auto'] as const) {
      for (const batchTokens of [32, 1024]) {
        const fast = await kernels(lora, rows, { method, batchTokens });
        assert.ok(
          relative(fast.full, plain.full) < tolerance.rounding,
          `${method}: ${relative(fast.full, plain.full)}`,
        );
        assert.ok(
          relative(present(fast.lora), present(plain.lora)) < tolerance.rounding,
          `${method}: ${relative(present(fast.lora), present(plain.lora))}`,
        );
        fast.layers.forEach((layer, i) =>
          assert.ok(
            Math.abs(present(layer.full) / present(plain.layers[i]!.full) - 1) < tolerance.rounding,
          ),
        );
      }
    }
  });

  check('(5) with r = n, A orthogonal up to scale and s²rσ² = 1, K_LoRA = K_ff', async () => {
    const model = withFactors((layer, n) => {
      // A = σ√n·Q with s²nσ² = 1: s·A is Q itself.
      const scale = 2,
        Q = orthogonal(n, layer);
      return { r: n, n, A: Q.map((value) => value / scale), scale };
    });
    const found = await kernels(model, rows, options);
    assert.ok(
      relative(present(found.lora), found.full) < tolerance.rounding,
      String(relative(present(found.lora), found.full)),
    );
    model.free();
  });

  check(
    'padding and batch-mates do not change K: rows alone, two by two and together',
    async () => {
      const together = await kernels(lora, rows);
      for (const some of [[1], [0, 3], [2, 6], [5, 4]]) {
        const width = some.length * C;
        const alone = await kernels(
          lora,
          some.map((i) => present(rows[i])),
        );
        const block = (whole: Float64Array): Float64Array =>
          Float64Array.from({ length: width ** 2 }, (_, k) => {
            const place = (x: number): number => present(some[Math.floor(x / C)]) * C + (x % C);
            return present(whole[place(Math.floor(k / width)) * size + place(k % width)]);
          });
        assert.ok(relative(alone.full, block(together.full)) < tolerance.rounding);
        assert.ok(
          relative(present(alone.lora), block(present(together.lora))) < tolerance.rounding,
        );
      }
    },
  );

  check(
    'tokens flattened into examples give another kernel, and the reference would catch it',
    async () => {
      const reference = await readReference('ntk-tiny-full');
      const referenceBlock = Float64Array.from({ length: size * size }, (_, k) =>
        present(
          reference.kernels.full![Math.floor(k / size) * reference.rows.length * C + (k % size)],
        ),
      );
      const sum = (counts?: (t: number, u: number) => boolean): Float64Array =>
        full.layers.reduce(
          (total, { name }) => {
            direct(full, name, null, counts).forEach((value, k) => {
              total[k]! += value;
            });
            return total;
          },
          new Float64Array(size * size),
        );
      assert.ok(relative(sum(), referenceBlock) < tolerance.kernel, 'over all token pairs');
      assert.ok(
        relative(
          sum((t, u) => t === u),
          referenceBlock,
        ) >
          100 * tolerance.kernel,
        'over tokens at the same place',
      );
    },
  );
}

test.run();
