import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { analyse } from '../../src/report/analysis.ts';
import { claimsOf } from '../../src/report/claims.tsx';
import { renderReport } from '../../src/report/report.tsx';
import type { ReportCell } from '../../src/report/types.ts';
import { judgeEqual, type PairedSample, seedsToDecide } from '../../src/report/verdict.ts';
import { present } from '../rig/present.ts';
import { fixture, type FixtureOptions } from './fixture.ts';
import { QUICK_ADAPTERS } from './trainings.ts';

const test = suite('claims');

test('seeds that decide: t(.975, 6)/√7 is .925, t(.975, 5)/√6 is 1.049', () => {
  const seen = { mean: 0.05, std: 0.04 };
  assert.is(seedsToDecide(seen, 0.01, 0.95), 7, 'the interval must be as narrow as .04');
  assert.is(seedsToDecide({ mean: -0.05, std: 0.04 }, 0.01, 0.95), 7);
  assert.is(seedsToDecide({ mean: 0.01, std: 0.04 }, 0.01, 0.95), null, 'as large as the margin');
  assert.is(seedsToDecide({ mean: 0.05, std: null }, 0.01, 0.95), null, 'one seed has no spread');
  const within = { mean: 0.002, std: 0.01 };
  assert.is(seedsToDecide(within, 0.01, 0.95), null, 'no seeds exclude zero by the margin');
  assert.is(seedsToDecide(within, 0.01, 0.95, true), 9, 't(.975, 8)/√9 is .769, and .8 is room');
});

/** Five differences around `mean` with standard error `error`. */
const sample = (mean: number, error: number, margin: number): PairedSample => ({
  a: [-2, -1, 0, 1, 2].map((k) => mean + k * error * Math.SQRT2),
  b: [0, 0, 0, 0, 0],
  margin,
});

test('no effect is held where the interval lies within the margin', () => {
  const states = (...samples: PairedSample[]): string[] =>
    judgeEqual(samples).map(({ state }) => state);
  assert.equal(states(sample(0, 1, 2.8)), ['held'], 't(.975, 4) is 2.776');
  assert.equal(states(sample(0, 1, 2.7)), ['undecided']);
  assert.equal(states(sample(-3, 1, 0.1)), ['refuted'], 'a difference of either sign');
  assert.equal(states(sample(0, 1, 2.8), sample(0, 1, 2.8)), ['undecided', 'undecided']);
  assert.equal(states({ a: [0, 0.1], b: [0, 0], margin: 9 }), ['undecided'], 'two seeds');
});

/** The claims of the made-up run with some numbers of `evaluate` replaced. */
function claimsWith(
  options: FixtureOptions,
  change: (cell: ReportCell) => { readonly [metric: string]: number },
  lora: (cell: ReportCell) => ReportCell['lora'] = (cell) => cell.lora,
) {
  const input = fixture({ rows: 4, ...options });
  const cells = input.cells.map((cell) => ({
    ...cell,
    lora: lora(cell),
    metrics: { ...cell.metrics, evaluate: { ...cell.metrics['evaluate'], ...change(cell) } },
  }));
  const { conditions, comparisons } = analyse({ ...input, cells });
  return claimsOf(conditions, comparisons);
}
const seeds = [1, 2, 3, 4, 5];

test('the ends of the ranks are compared by seed, under α = r as well', () => {
  const claims = claimsWith({ seeds }, ({ axes, seed, family }) =>
    family === 'none'
      ? {}
      : { accuracy_drop: axes['adapter.rank'] === 16 ? 0.05 + seed / 1000 : 0.1 },
  );
  const { rows } = present(
    claims.find(({ statement }) => statement.startsWith('With a larger rank')),
  );
  assert.is(rows.length, 1);
  const { label, a, verdict, decides } = present(rows[0]);
  assert.match(label, /^Accuracy drop by rank: LoRA.*16.* − LoRA.*4.*label-flip/);
  assert.is(a.length, 5);
  assert.is(present(verdict).state, 'held');
  assert.is(decides, '');
});

test('that the variance has no effect is held within the margin, and refuted beyond it', () => {
  const [full, lora] = [present(QUICK_ADAPTERS[0]), present(QUICK_ADAPTERS[1])];
  // The last two have one σ² in two spellings.
  const large = ['1/d', 0.125].map((variance) => ({ ...lora, 'init.variance': variance }));
  const adapters = [full, lora, ...large];
  const isLarge = ({ axes }: ReportCell): boolean =>
    large.some((one) => one['init.variance'] === axes['adapter.init.variance']);
  const states = (off: number) =>
    present(
      claimsWith(
        { seeds, adapters },
        (cell) => ({ accuracy_drop: 0.1 + (isLarge(cell) ? off + cell.seed / 5000 : 0) }),
        (cell) =>
          cell.lora &&
          cell.lora.map((layers) => ({
            ...layers,
            variance: (isLarge(cell) ? 1 : 1 / 3) / layers.fanIn,
          })),
      ).find(({ statement }) => statement.includes('no obvious effect')),
    ).rows.map(({ verdict }) => present(verdict).state);
  assert.equal(states(0), ['held']);
  assert.equal(states(0.05), ['refuted']);
});

test('cells on a poisoned base are in no verdict on robustness, and the page names them', async () => {
  const input = fixture({ seeds, rows: 4 });
  const cells = input.cells.map((cell) => ({
    ...cell,
    axes: {
      ...cell.axes,
      ...(cell.family === 'none' ? {} : { 'base.poisoning.attack': 'addsent' }),
    },
  }));
  const { conditions, comparisons } = analyse({ ...input, cells });
  assert.equal(
    claimsOf(conditions, comparisons).filter(({ statement }) => !statement.includes('kernel')),
    [],
  );
  const { html } = await renderReport({ ...input, cells });
  assert.match(
    html,
    'no such verdict is about label-flip, rate 0.3 after addsent in the base; badnets, rate 0.1',
  );
  assert.match(html, 'No verdict: the paper makes no claim about a poisoned base');
});

test('defended models are in no verdict on robustness, nor in Holm’s correction', () => {
  const input = fixture({ seeds, rows: 4 });
  const defended = input.cells
    .filter(({ family }) => family !== 'none')
    .map((cell) => ({ ...cell, axes: { ...cell.axes, 'defence.defence': 'oracle' } }));
  const ofRobustness = (cells: readonly ReportCell[]) => {
    const { conditions, comparisons } = analyse({ ...input, cells });
    return claimsOf(conditions, comparisons).flatMap(({ statement, rows }) =>
      statement.includes('kernel') ? [] : rows.map(({ verdict }) => [statement, verdict]),
    );
  };
  const alone = ofRobustness(input.cells);
  assert.ok(alone.length > 0);
  assert.equal(ofRobustness([...input.cells, ...defended]), alone);
  assert.equal(ofRobustness(defended), []);
  assert.equal(analyse({ ...input, cells: defended }).standing.headline, [
    'No verdict: the paper makes no claim about models under a defence.',
  ]);
});

test('claims that these runs say nothing about are left out, and the page has the others', async () => {
  const input = fixture({ seeds: [1, 2], rows: 4 });
  const { html } = await renderReport(input);
  assert.match(html, /id="claims"/);
  assert.match(html, /LoRA is more robust to backdoors than full fine-tuning\./);
  assert.match(html, /at least 5 seeds|seeds, at this mean and spread/);
  assert.not.match(html, /variance of A has no obvious effect/);
});

test.run();
