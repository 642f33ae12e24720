"""Makes test/golden/kappa.json: how random raters agree, by scikit-learn and statsmodels.

    python test/golden/kappa.py      (numpy, scikit-learn, statsmodels)
"""

import json
import os

import numpy as np
import sklearn
import statsmodels
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)


def case(items, raters, rate, errors):
    truth = rng.random(items) < rate
    said = np.array([truth ^ (rng.random(items) < error) for error in errors[:raters]]).T
    return {
        'said': said.T.tolist(),
        'cohen': float(cohen_kappa_score(said[:, 0], said[:, 1])),
        'fleiss': float(fleiss_kappa(aggregate_raters(said.astype(int), n_cat=2)[0])),
    }


cases = [
    case(37, 2, 0.5, [0.1, 0.3]),
    case(101, 3, 0.2, [0.1, 0.2, 0.05]),
    case(53, 4, 0.9, [0.3, 0.1, 0.4, 0.2]),
    case(29, 5, 0.5, [0.5] * 5),
]
with open(os.path.join(HERE, 'kappa.json'), 'w') as file:
    json.dump(
        {
            'versions': {'sklearn': sklearn.__version__, 'statsmodels': statsmodels.__version__},
            'cases': cases,
        },
        file,
    )
    file.write('\n')
