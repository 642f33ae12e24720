/** The verdict rule against SciPy's t-test and statsmodels' Holm (test/golden/verdict.py). */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pairedDifference } from '../../src/base/stats.ts';
import { judge, marginP, type PairedSample, type Verdict } from '../../src/report/verdict.ts';
import { present } from '../rig/present.ts';

const test = suite('verdicts against SciPy and statsmodels');

interface Family {
  readonly samples: readonly PairedSample[];
  readonly p: readonly number[];
  readonly levels: readonly number[];
  readonly intervals: readonly (readonly [number, number])[];
  /** The states of the claim a > b. */
  readonly states: readonly Verdict['state'][];
}
const { families } = JSON.parse(
  await readFile(new URL('../golden/verdict.json', import.meta.url), 'utf8'),
) as { readonly families: readonly Family[] };

families.forEach(({ samples, p, levels, intervals, states }, f) => {
  test(`family ${f + 1}: ${samples.length} comparisons`, () => {
    samples.forEach(({ a, b, margin }, i) => {
      const found = marginP(pairedDifference(a, b), margin);
      assert.ok(Math.abs(found - present(p[i])) < 1e-9, `p ${i}: ${found}, SciPy has ${p[i]}`);
    });
    const verdicts = judge(samples, 1);
    assert.equal(
      verdicts.map(({ state }) => state),
      states,
    );
    verdicts.forEach(({ interval }, i) => {
      assert.ok(Math.abs(present(interval).level - present(levels[i])) < 1e-12);
      const [low, high] = present(intervals[i]);
      assert.ok(
        Math.abs(present(interval).low - low) < 1e-8 &&
          Math.abs(present(interval).high - high) < 1e-8,
        `interval ${i}: ${present(interval).low}, ${present(interval).high}, ` +
          `SciPy has ${low}, ${high}`,
      );
    });
    // For the opposite claim, what was held is refuted.
    const turned = { held: 'refuted', refuted: 'held', undecided: 'undecided' } as const;
    assert.equal(
      judge(samples, -1).map(({ state }) => state),
      states.map((state) => turned[state]),
    );
  });
});

test.run();
