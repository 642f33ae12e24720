/**
 * The reference in double precision, compared with PyTorch in double precision
 * (test/golden/ntk.py), by its identities, and with the implementations that run on tensors.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { drawA } from '../../../../plugins/adapters/lora/init.ts';
import { fisher } from '../../../../src/science/measures/fisher.ts';
import { kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import type { Network } from '../../../../src/science/models/network.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { symmetricEigenvalues } from '../../../../src/tensor/linalg.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { openTiny, rows as allRows } from '../../tiny-bert.ts';
import { relative } from './fixture/compare.ts';
import {
  doubleBert,
  type DoubleLayer,
  type DoubleModel,
  fullBlock,
  type Gradients,
  loraBlock,
  total,
} from './fixture/double-bert.ts';
import { erf } from './fixture/double-tape.ts';
import { assertFisher, readReference } from './fixture/golden.ts';
import { deltaMatrix, frobenius, gaussian, orthogonal } from './fixture/matrices.ts';

const test = suite('kernels in double precision');
const networks = new Map<'lora' | 'full', Network>(),
  models = new Map<'lora' | 'full', DoubleModel>();
test.before(async () => {
  await useBackend('cpu');
  for (const kind of ['lora', 'full'] as const) {
    networks.set(kind, await openTiny(kind, true));
    models.set(kind, await doubleBert(present(networks.get(kind))));
  }
});
test.after(() => {
  networks.forEach((network) => {
    network.dispose();
  });
});

test('erf equals the table of Abramowitz and Stegun', () => {
  // Table 7.1.
  for (const [x, value] of [
    [0, 0],
    [0.5, 0.5204998778],
    [1, 0.8427007929],
    [2, 0.995322265],
  ] as const) {
    assert.ok(Math.abs(erf(x) - value) < 5e-11);
    assert.is(erf(-x), -erf(x));
  }
  assert.ok(Math.abs(erf(5.9) - 1) < 1e-14 && erf(7) === 1);
});

for (const kind of ['lora', 'full'] as const) {
  test(
    `the tiny BERT under ${kind}: kernels, traces, logits, Fisher spectra and what is made of ` +
      "them are PyTorch's",
    async () => {
      const model = present(models.get(kind)),
        reference = await readReference(`ntk-tiny-${kind}`);
      const { logits, gradients } = model.differentiate(reference.rows);
      const near = (a: ArrayLike<number>, b: ArrayLike<number>, what: string): void => {
        const error = relative(a, b);
        assert.ok(error <= tolerance.double, `${what}: ${error}`);
      };
      near(logits, reference.logits.flat(), 'logits');
      for (const which of kind === 'lora' ? (['lora', 'full'] as const) : (['full'] as const)) {
        const blocks = model.layers.map((layer) =>
          which === 'full'
            ? fullBlock(present(gradients.get(layer.name)))
            : loraBlock(present(gradients.get(layer.name)), layer, present(layer.lora)),
        );
        const K = total(blocks);
        near(K, present(reference.kernels[which]), `${which} kernel`);
        const size = logits.length;
        assert.equal(
          model.layers.map(({ name }) => name),
          Object.keys(present(reference.traces[which])),
        );
        near(
          blocks.map((block) =>
            Array.from({ length: size }, (_, i) => present(block[i * (size + 1)])).reduce(
              (a, b) => a + b,
            ),
          ),
          Object.values(present(reference.traces[which])),
          `${which} traces`,
        );
        assertFisher(
          fisher(K, logits, reference.labels, { tolerance: 1e-6, alphas: [0.5, 1, 2, 3, 'inf'] }),
          present(reference.fisher[which]),
          which,
          tolerance.double,
        );
      }
    },
  );
}
const rows = allRows.slice(0, 7),
  C = 3,
  size = rows.length * C;
/** Rounding of sums of a few thousand terms; a wrong kernel is off by far more. */
const EXACT = 1e-12;

/** Σ ⟨G, G'M⟩: (N·C, N·C). M: (n, n), symmetric. */
function weighted(G: Gradients, M: Float64Array, n: number): Float64Array {
  const times = G.map((one) =>
    one.map((_, at) => {
      const i = Math.floor(at / n),
        j = at % n;
      let sum = 0;
      for (let k = 0; k < n; k++) sum += present(one[i * n + k]) * present(M[k * n + j]);
      return sum;
    }),
  );
  return Float64Array.from({ length: size * size }, (_, at) =>
    present(G[Math.floor(at / size)]).reduce(
      (sum, x, k) => sum + x * present(times[at % size]![k]),
      0,
    ),
  );
}

interface Start {
  readonly layer: DoubleLayer;
  readonly G: Gradients;
  readonly full: Float64Array;
  readonly lora: (A: Float64Array, r: number, scale: number) => Float64Array;
}

/** Every layer's gradients under full fine-tuning, and LoRA's block where it starts, with B = 0. */
function differentiateStarts(): Start[] {
  const { layers, differentiate } = present(models.get('full'));
  const { gradients } = differentiate(rows);
  return layers.map((layer) => {
    const G = present(gradients.get(layer.name));
    return {
      layer,
      G,
      full: fullBlock(G),
      lora: (A, r, scale) =>
        loraBlock(G, layer, { r, A, B: new Float64Array(layer.out * r), scale }),
    };
  });
}
let differentiated: readonly Start[] | null = null;
const starts = (): readonly Start[] => (differentiated ??= differentiateStarts());

test('(1) in every layer, K_LoRA(B = 0) − K_ff = Δ_r', () => {
  for (const {
    layer: { name, in: n },
    G,
    full,
    lora,
  } of starts()) {
    const A = gaussian(5, n, 0.4, name),
      scale = 1.7;
    const found = lora(A, 5, scale),
      delta = weighted(G, deltaMatrix(A, 5, n, scale), n);
    assert.ok(
      frobenius(found.map((value, k) => value - present(full[k]) - present(delta[k]))) <
        EXACT * frobenius(full),
      name,
    );
    assert.ok(frobenius(delta) > 0.1 * frobenius(full));
  }
});

test('(2) over the row blocks of A = σ√n·Q, K_LoRA(B = 0) averages to s²rσ²·K_ff', () => {
  const std = 0.3,
    scale = 2.5;
  for (const {
    layer: { name, in: n },
    full,
    lora,
  } of starts()) {
    const Q = orthogonal(n, name);
    for (const r of n === 22 ? [2, 11, 22] : [1, n]) {
      const blocks = Array.from({ length: n / r }, (_, k) =>
        lora(
          Q.subarray(k * r * n, (k + 1) * r * n).map((value) => std * Math.sqrt(n) * value),
          r,
          scale,
        ),
      );
      assert.ok(
        relative(
          total(blocks).map((value) => (value * r) / n),
          full.map((value) => scale ** 2 * r * std ** 2 * value),
        ) < EXACT,
        `${name}, rank ${r}`,
      );
    }
  }
});

for (const shape of ['normal', 'uniform'] as const) {
  test(`(2) over our own draws of A, ${shape}, K_LoRA(B = 0) has the mean s²rσ²·K_ff`, () => {
    const r = 5,
      variance = 0.04,
      scale = 1.5,
      draws = 400;
    const {
      layer: { name, in: n },
      full,
      lora,
    } = present(starts()[4]); // the first feed-forward layer
    const found = Array.from({ length: draws }, (_, seed) =>
      lora(Float64Array.from(drawA(name, n, r, shape, variance, seed).data), r, scale),
    );
    const mean = total(found).map((value) => value / draws);
    let largest = 0;
    mean.forEach((value, k) => {
      const error = Math.sqrt(
        found.reduce((sum, one) => sum + (present(one[k]) - value) ** 2, 0) / (draws * (draws - 1)),
      );
      largest = Math.max(
        largest,
        Math.abs(value - scale ** 2 * r * variance * present(full[k])) / error,
      );
    });
    // 231 correlated entries: one exceeds 5 once in 10,000 runs
    assert.ok(largest < 5, `${largest} standard errors`);
    assert.ok(
      relative(
        mean,
        full.map((value) => scale ** 2 * r * variance * value),
      ) < 0.1,
      'no wide error hides it',
    );
  });
}

test('(3) both kernels of a trained adapter are symmetric and positive semi-definite', () => {
  const { layers, differentiate } = present(models.get('lora'));
  const { gradients } = differentiate(rows);
  for (const K of [
    total(layers.map(({ name }) => fullBlock(present(gradients.get(name))))),
    total(
      layers.map((layer) =>
        loraBlock(present(gradients.get(layer.name)), layer, present(layer.lora)),
      ),
    ),
  ]) {
    K.forEach((value, k) => {
      assert.is(value, K[(k % size) * size + Math.floor(k / size)]);
    });
    const spectrum = symmetricEigenvalues(K, size);
    assert.ok(present(spectrum[size - 1]) > -1e-14 * size * present(spectrum[0]));
  }
});

test(
  '(5) in every layer, with r = n, A orthogonal up to scale and s²rσ² = 1, K_LoRA = K_ff and ' +
    'M_Δ = 0',
  () => {
    for (const {
      layer: { name, in: n },
      full,
      lora,
    } of starts()) {
      const scale = 2,
        A = orthogonal(n, name).map((value) => value / scale);
      assert.ok(relative(lora(A, n, scale), full) < EXACT, name);
      assert.ok(deltaMatrix(A, n, n, scale).every((value) => Math.abs(value) < EXACT));
    }
  },
);

const others = allRows.slice(11); // PyTorch's reference has the first eleven

interface Oracle {
  readonly logits: Float64Array;
  readonly full: Float64Array;
  readonly lora: Float64Array | null;
}
const oracles = new Map<'lora' | 'full', Oracle>();

/** The kernels of the other rows in double precision, computed once for all backends. */
function oracle(kind: 'lora' | 'full'): Oracle {
  const known = oracles.get(kind);
  if (known !== undefined) return known;
  const { layers, differentiate } = present(models.get(kind));
  const { logits, gradients } = differentiate(others);
  const made: Oracle = {
    logits,
    full: total(layers.map(({ name }) => fullBlock(present(gradients.get(name))))),
    lora:
      kind === 'full'
        ? null
        : total(
            layers.map((layer) =>
              loraBlock(present(gradients.get(layer.name)), layer, present(layer.lora)),
            ),
          ),
  };
  oracles.set(kind, made);
  return made;
}

for (const backend of backends) {
  for (const kind of ['lora', 'full'] as const) {
    test(`(4) ${backend}, ${kind}: every contraction on tensors equals the reference`, async () => {
      await useBackend(backend);
      const network = await openTiny(kind, true);
      const { logits, full, lora } = oracle(kind);
      for (const method of ['plain', 'explicit', 'gram', 'auto'] as const) {
        const found = await kernelSet(adaptedModel(network), others, {
          method,
          batchTokens: 64,
        });
        for (const [own, reference] of [
          [found.logits, logits],
          [present(found.full).data, full],
          ...(lora === null ? [] : [[present(found.lora).data, lora]]),
        ] as const) {
          const error = relative(own, reference);
          assert.ok(error < tolerance.double, `${method}: ${error}`);
        }
      }
      network.dispose();
    });
  }
}

test.run();
