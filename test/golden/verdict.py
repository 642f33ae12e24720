"""Makes test/golden/verdict.json: what the verdict rule says of random families of paired
differences, by SciPy's t-test and statsmodels' Holm.

    python test/golden/verdict.py      (numpy, scipy, statsmodels)

A comparison's p is that of |mean| against the declared margin: SciPy's one-sample t-test of the
differences, turned to the side of their mean, against the margin; 1 where the mean does not reach
it.
"""

import json
import os

import numpy as np
import scipy
import statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(4)


def family(size, seeds, effect, margin):
    samples, p = [], []
    for _ in range(size):
        n = int(rng.integers(*seeds))
        b = np.round(rng.standard_normal(n), 4)
        a = np.round(b + effect * rng.standard_normal() + rng.standard_normal(n), 4)
        d = a - b
        samples.append({'a': a.tolist(), 'b': b.tolist(), 'margin': margin})
        p.append(
            float(stats.ttest_1samp(np.sign(d.mean()) * d, margin).pvalue)
            if abs(d.mean()) > margin
            else 1.0
        )
    rejected = multipletests(p, alpha=0.05, method='holm')[0]
    # The k-th smallest p is judged at 1 − 0.05/(m − k + 1).
    levels = np.empty(size)
    levels[np.argsort(p, kind='stable')] = 1 - 0.05 / (size - np.arange(size))
    intervals = [
        stats.t.interval(
            level, len(s['a']) - 1, np.mean(d := np.subtract(s['a'], s['b'])), stats.sem(d)
        )
        for level, s in zip(levels, samples)
    ]
    states = [
        'undecided' if not r else 'held' if np.mean(np.subtract(s['a'], s['b'])) > 0 else 'refuted'
        for r, s in zip(rejected, samples)
    ]
    return {
        'samples': samples,
        'p': p,
        'levels': levels.tolist(),
        'intervals': [[float(x) for x in interval] for interval in intervals],
        'states': states,
    }


families = [
    family(size, seeds, effect, margin)
    for size, seeds, effect, margin in [
        (1, (5, 6), 2, 0),
        (2, (5, 6), 3, 0),
        (3, (5, 8), 3, 0.3),
        (5, (5, 10), 2, 0.1),
        (7, (6, 7), 4, 0.5),
        (11, (5, 21), 1, 0),
        (13, (8, 9), 3, 1),
    ]
]
states = [state for one in families for state in one['states']]
assert all(states.count(state) >= 5 for state in ('held', 'refuted', 'undecided'))
# Families in which Holm says other than no correction and other than Bonferroni's.
assert any(
    q < 0.05 and state == 'undecided'
    for one in families
    for q, state in zip(one['p'], one['states'])
)
assert any(
    q > 0.05 / len(one['p']) and state != 'undecided'
    for one in families
    for q, state in zip(one['p'], one['states'])
)
with open(os.path.join(HERE, 'verdict.json'), 'w') as file:
    json.dump(
        {'scipy': scipy.__version__, 'statsmodels': statsmodels.__version__, 'families': families},
        file,
    )
    file.write('\n')
