/** Agreement of raters, and rates corrected for the errors of a judge. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import binomialCdf from '@stdlib/stats-base-dists-binomial-cdf';
import { randomStream } from '../../../src/base/random.ts';
import {
  cohenKappa,
  type Confusion,
  correctedRate,
  countConfusion,
  fleissKappa,
} from '../../../src/base/stats.ts';

const test = suite('raters');
const GOLDEN = new URL('../../golden/kappa.json', import.meta.url);
const near = (a: number | null, b: number): boolean => a !== null && Math.abs(a - b) < 1e-12;

test('both kappas equal those of scikit-learn and statsmodels', () => {
  const { cases } = JSON.parse(readFileSync(GOLDEN, 'utf8')) as {
    readonly cases: readonly {
      readonly said: readonly (readonly boolean[])[];
      readonly cohen: number;
      readonly fleiss: number;
    }[];
  };
  assert.ok(cases.length > 3);
  for (const { said, cohen, fleiss } of cases) {
    const [first = [], second = []] = said;
    assert.ok(near(cohenKappa(countConfusion(first, second)), cohen));
    const counts = Array.from({ length: said.length + 1 }, () => 0);
    first.forEach((_, i) => {
      const yes = said.filter((own) => own[i]).length;
      counts[yes] = (counts[yes] ?? 0) + 1;
    });
    assert.ok(near(fleissKappa(counts), fleiss));
  }
});

test('raters who always say the same have no kappa, and the undecided are left out', () => {
  assert.is(cohenKappa(countConfusion([true, true], [true, true])), null);
  assert.is(fleissKappa([0, 0, 0, 5]), null);
  assert.equal(countConfusion([true, null, false, true], [true, true, null, false]), [
    [0, 0],
    [1, 1],
  ]);
});

test('agreement as by chance is 0 to the last bit', () => {
  // Of 25 items each of two raters counts 20, and both count 16, as independent raters would.
  const counts: Confusion = [
    [1, 4],
    [4, 16],
  ];
  assert.is(cohenKappa(counts), 0);
  assert.is(fleissKappa([1, 8, 16]), 0);
});

test('the corrected rate gives back the true one', () => {
  // Of 1000 items 300 count; the judge finds .9 of these and errs on .2 of the others.
  const measured: Confusion = [
    [80, 10],
    [20, 90],
  ];
  const corrected = correctedRate(0.9 * 300 + 0.2 * 700, 1000, measured);
  assert.ok(near(corrected?.rate ?? NaN, 0.3));
  assert.ok((corrected?.low ?? NaN) < 0.3 && (corrected?.high ?? NaN) > 0.3);
});

test('the interval is that of the formulas, written out', () => {
  // Of 100 items 40; sensitivity 45 of 50, specificity 40 of 50.
  const z = 1.959963984540054,
    [se, sp] = [46 / 52, 41 / 52],
    n = 100 + z * z,
    ap = (40 + (z * z) / 2) / n,
    p = (ap + sp - 1) / (se + sp - 1);
  const shift = 2 * z * z * ((p * se * (1 - se)) / 52 - ((1 - p) * sp * (1 - sp)) / 52);
  const variance =
    ((ap * (1 - ap)) / n + (p * p * se * (1 - se)) / 52 + ((1 - p) ** 2 * sp * (1 - sp)) / 52) /
    (se + sp - 1) ** 2;
  const found = correctedRate(40, 100, [
    [40, 5],
    [10, 45],
  ]);
  assert.ok(near(found?.rate ?? NaN, 0.2 / 0.7));
  assert.ok(near(found?.low ?? NaN, p + shift - z * Math.sqrt(variance)));
  assert.ok(near(found?.high ?? NaN, p + shift + z * Math.sqrt(variance)));
});

for (const [name, measured] of [
  [
    'no better than chance',
    [
      [5, 5],
      [5, 5],
    ],
  ],
  [
    'worse than chance',
    [
      [2, 9],
      [8, 1],
    ],
  ],
  [
    'known on one kind alone',
    [
      [10, 0],
      [0, 0],
    ],
  ],
  [
    'known by one label of one kind',
    [
      [3, 0],
      [27, 1],
    ],
  ],
] as const)
  test(`no rate is corrected for a judge that is ${name}`, () => {
    assert.is(correctedRate(5, 10, measured), null);
  });

/** Draws items with true rate `rate`, and labels, through a judge; whether the interval has it. */
function covers(
  draw: number,
  { rate, se, sp, items, labels }: Record<'rate' | 'se' | 'sp' | 'items' | 'labels', number>,
): { readonly corrected: boolean; readonly raw: boolean } {
  const random = randomStream(draw, 'judge', JSON.stringify([rate, se, sp]));
  const said = (truth: boolean): boolean => random.uniform() < (truth ? se : 1 - sp);
  const hits = Array.from({ length: items }, () => said(random.uniform() < rate)).filter(
    Boolean,
  ).length;
  const truths = Array.from({ length: 2 * labels }, (_, i) => i < labels);
  const found = correctedRate(hits, items, countConfusion(truths.map(said), truths));
  const share = hits / items,
    half = 1.96 * Math.sqrt((share * (1 - share)) / items);
  return {
    corrected: found !== null && found.low <= rate && rate <= found.high,
    raw: Math.abs(share - rate) <= half,
  };
}

for (const rate of [0.05, 0.3, 0.8])
  for (const [se, sp] of [
    [0.9, 0.8],
    [0.75, 0.95],
  ] as const)
    test(`the interval has the rate ${rate} in 95 of 100 draws (${se}, ${sp})`, () => {
      const draws = Array.from({ length: 600 }, (_, draw) =>
        covers(draw, { rate, se, sp, items: 200, labels: 60 }),
      );
      const covered = draws.filter(({ corrected }) => corrected).length;
      // So few would be improbable if the interval had its level.
      assert.ok(binomialCdf(covered, draws.length, 0.95) > 0.001, `${covered} of ${draws.length}`);
      // The raw rate misses it, unless the judge's errors cancel out.
      if (Math.abs(rate * se + (1 - rate) * (1 - sp) - rate) > 0.1)
        assert.ok(draws.filter(({ raw }) => raw).length < 0.5 * draws.length);
    });

test.run();
