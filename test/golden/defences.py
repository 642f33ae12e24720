"""Makes test/golden/defences.json: what the defences' algorithms give on small inputs, by other
programs.

    python test/golden/defences.py      (nltk, numpy, scikit-learn, scipy)

- n-grams: nltk's counter and interpolated Kneser-Ney recursion, with Chen and Goodman's discounts
  in place of one, and a uniform distribution below the unigrams.
- clusters: scikit-learn's HDBSCAN, with a stable sort. Detection: scikit-learn's metrics. Principal
  components: scikit-learn's PCA.
- words that characterise a text: scikit-learn's TfidfVectorizer. Changes of weights: NumPy's SVD,
  SciPy's moments and entropy.
- spectral signatures: NumPy's SVD. Pruning: NumPy, row by row as the authors of Wanda do.
"""

import json
import os
import random
from collections import Counter

import nltk
import numpy as np
import sklearn
from nltk.lm import KneserNeyInterpolated, NgramCounter, Vocabulary
from sklearn import metrics
from sklearn.cluster import HDBSCAN
from sklearn.cluster._hdbscan import _linkage, hdbscan
from sklearn.datasets import load_wine, make_blobs, make_moons
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(11)


# ---- n-grams -------------------------------------------------------------------------------------
class ModifiedKneserNey(KneserNeyInterpolated):
    """nltk's model with three discounts an order, and 1/|V| below the unigrams."""

    def prepare(self):
        self.discounts, self.estimated = [], []
        for k in range(1, self.order + 1):
            counts = Counter(self._count(gram, k) for gram in self._grams(k))
            n = [counts[j] for j in (1, 2, 3, 4)]
            if all(n):
                y = n[0] / (n[0] + 2 * n[1])
                own = [j - (j + 1) * y * n[j] / n[j - 1] for j in (1, 2, 3)]
            self.estimated.append(all(n) and all(0 <= d <= j + 1 for j, d in enumerate(own)))
            self.discounts.append(own if self.estimated[-1] else [0.5, 1, 1.5])
        return self

    def _grams(self, k):
        if k == 1:
            return {(word,) for word in self.counts.unigrams}
        return {(*context, word) for context, words in self.counts[k].items() for word in words}

    def _count(self, gram, k):
        context, word = gram[:-1], gram[-1]
        following = self.counts[context] if context else self.counts.unigrams
        return (
            following[word]
            if k == self.order
            else self.estimator._continuation_counts(word, context)[0]
        )

    def both(self, word, context):
        k = len(context) + 1
        following = self.counts[context] if context else self.counts.unigrams
        counts = {other: self._count((*context, other), k) for other in following}
        discount = lambda count: self.discounts[k - 1][min(count, 3) - 1] if count else 0
        total = sum(counts.values())
        own = counts.get(word, 0)
        return (own - discount(own)) / total, sum(map(discount, counts.values())) / total

    def unmasked_score(self, word, context=None):
        context = tuple(context or ())
        if context and not self.counts[context]:
            alpha, gamma = 0, 1
        else:
            alpha, gamma = self.both(word, context)
        return alpha + gamma * (
            self.unmasked_score(word, context[1:]) if context else 1 / len(self.vocab)
        )


def ngrams(order, few=False):
    draw = random.Random(order)
    subjects, verbs = (
        ['the film', 'a plot', 'the actor', 'this scene', 'the old film', 'it'],
        ['is', 'was', 'seems', 'is not', 'was never'],
    )
    ends = [
        'good',
        'bad',
        'very good',
        'very very bad',
        'dull and long',
        'a joy',
        'the best film',
        'worth a look',
        'as dull as the plot',
    ]
    rare = [
        f'{a}{b}'
        for a in ('ka', 'lo', 'mi', 'ne', 'pu', 'ra', 'si', 'to')
        for b in ('ban', 'der', 'fil', 'gor', 'hum', 'jat')
    ]
    seldom = lambda: rare[int(len(rare) * draw.random() ** 2)]
    texts = [
        f'{draw.choice(subjects)} {draw.choice(verbs)} {draw.choice(ends)} {seldom()} {seldom()}'.split()
        for _ in range(3 if few else 60)
    ]
    padded = [['<s>'] * (order - 1) + words + ['</s>'] for words in texts]
    grams = [
        tuple(words[t - k + 1 : t + 1])
        for words in padded
        for t in range(order - 1, len(words))
        for k in range(1, order + 1)
    ]
    vocabulary = Vocabulary([word for words in texts for word in words] + ['</s>'], unk_cutoff=1)
    model = ModifiedKneserNey(order, vocabulary=vocabulary, counter=NgramCounter([grams]))
    model.prepare()
    asked = [
        texts[0],
        texts[-1],
        'the film cf was good'.split(),
        'good good bad was the'.split(),
        ['zz', 'qq'],
        ['film'],
        [],
    ]

    def logs(words):
        own = (
            ['<s>'] * (order - 1)
            + [word if word in vocabulary else '<UNK>' for word in words]
            + ['</s>']
        )
        return [
            float(np.log(model.unmasked_score(own[t], tuple(own[t - order + 1 : t]))))
            for t in range(order - 1, len(own))
        ]

    perplexity = lambda words: float(np.exp(-np.mean(logs(words))))
    return {
        'order': order,
        'texts': [' '.join(words) for words in texts],
        'vocabulary': len(vocabulary),
        'discounts': model.discounts,
        'estimated': model.estimated,
        'asked': [
            {
                'text': ' '.join(words),
                'logs': logs(words),
                'perplexity': perplexity(words),
                'without': [perplexity(words[:i] + words[i + 1 :]) for i in range(len(words))],
            }
            for words in asked
        ],
    }


# ---- clusters ------------------------------------------------------------------------------------
# Several edges of the tree may have one length, that of a point's core distance. scikit-learn sorts
# them by a method that leaves such edges in an arbitrary order; here they keep theirs.
hdbscan._process_mst = lambda tree: _linkage.make_single_linkage(
    tree[np.argsort(tree['distance'], kind='stable')]
)


def clusters(name, points, size, samples=None):
    points = np.round(points, 5)
    labels = HDBSCAN(
        min_cluster_size=size,
        min_samples=samples,
        algorithm='brute',
        copy=True,
    ).fit_predict(points)
    return {
        'name': name,
        'points': points.tolist(),
        'min_cluster_size': size,
        'min_samples': samples,
        'labels': labels.tolist(),
    }


blobs = make_blobs(
    [60, 40, 25],
    2,
    centers=np.array([[0, 0], [6, 1], [2, 7]]),
    cluster_std=[0.5, 1, 1.4],
    random_state=3,
)[0]
noise = rng.uniform(-4, 10, (40, 2))
moons = make_moons(140, noise=0.06, random_state=5)[0] + rng.normal(0, 1e-3, (140, 2))
wide = make_blobs([50, 30, 12], 8, cluster_std=1.5, random_state=9)[0]
wine = load_wine().data
wine = (wine - wine.mean(0)) / wine.std(0) + rng.normal(0, 1e-3, wine.shape)  # no two points alike
nested = np.concatenate(
    [rng.normal(0, 0.2, (30, 2)), rng.normal(1, 0.2, (30, 2)), rng.normal(0.5, 3, (60, 2))]
)
cases = [
    clusters('three densities', blobs, 5),
    clusters('three densities among noise', np.concatenate([blobs, noise]), 8),
    clusters('two moons', moons, 6, 4),
    clusters('eight dimensions', wide, 5, 3),
    clusters('scikit-learn\'s wine data, four components', PCA(4).fit_transform(wine), 10, 5),
    clusters('clusters within a cloud', nested, 7, 3),
    clusters('one cloud, split', rng.normal(0, 1, (60, 2)), 5),
]
rng.normal(0, 1, (60, 2))  # so that what is drawn from here on stays as it was
cases += [
    clusters('too few', rng.normal(0, 1, (7, 2)), 5),
    clusters('uniform', rng.uniform(0, 1, (50, 3)), 4, 2),
]


# ---- detection -----------------------------------------------------------------------------------
def detection(name, poisoned, scores, bar):
    rejected = scores >= bar
    fpr, tpr, thresholds = metrics.roc_curve(poisoned, scores, drop_intermediate=False)
    tn, fp, fn, tp = (
        int(x) for x in metrics.confusion_matrix(poisoned, rejected, labels=[False, True]).ravel()
    )
    return {
        'name': name,
        'poisoned': poisoned.tolist(),
        'scores': scores.tolist(),
        'bar': bar,
        'counts': [tp, fp, fn, tn],
        'precision': metrics.precision_score(poisoned, rejected),
        'recall': metrics.recall_score(poisoned, rejected),
        'frr': fp / (fp + tn),
        'far': fn / (fn + tp),
        'auroc': metrics.roc_auc_score(poisoned, scores),
        'roc': [thresholds[1:].tolist(), fpr[1:].tolist(), tpr[1:].tolist()],
    }


poisoned = rng.uniform(size=90) < 0.2
scores = np.round(rng.normal(0, 1, 90) + 1.2 * poisoned, 4)
detections = [
    detection('continuous', poisoned, scores, 1.0),
    detection('many ties', poisoned, np.round(2 * scores) / 2, 0.5),
    detection('worse than chance', poisoned, -scores, 0.0),
]

# ---- representations -----------------------------------------------------------------------------
labels = (rng.uniform(size=40) < 0.5).astype(int)
rows = np.round(
    rng.normal(0, 1, (40, 9)) * np.linspace(2, 0.3, 9)
    + labels[:, None]
    + np.where(rng.uniform(size=40) < 0.15, 6, 0)[:, None] * (labels == 1)[:, None],
    5,
)
tau = np.zeros(40)
for label in (0, 1):
    own = rows[labels == label]
    v = np.linalg.svd(own - own.mean(0), full_matrices=False)[2][0]
    tau[labels == label] = ((own - own.mean(0)) @ v) ** 2
components = PCA(4, svd_solver='full').fit_transform(rows)

# ---- pruning -------------------------------------------------------------------------------------
change, X = (
    np.round(rng.normal(0, 1, (7, 11)), 5),
    np.round(rng.normal(0, 1, (50, 11)) * np.exp(rng.normal(0, 1, 11)), 5),
)
change[2, 3:6] = 0.25  # equal entries


def by_magnitude(share):
    out = change.ravel().copy()
    out[np.argsort(np.abs(out), kind='stable')[: int(share * out.size)]] = 0
    return out.tolist()


def by_wanda(share):
    metric = np.abs(change) * np.sqrt((X**2).mean(0))[None, :]
    out = change.copy()
    for i, order in enumerate(
        np.argsort(metric, axis=-1, kind='stable')[:, : int(share * change.shape[1])]
    ):
        out[i, order] = 0
    return out.ravel().tolist()


# ---- words and spectra ---------------------------------------------------------------------------
films = [
    'a good film and a good plot',
    'the plot is bad',
    'the film is the best film',
    'bad bad bad acting',
    'an odd and slow film',
]
vectoriser = TfidfVectorizer(norm=None, token_pattern=r'\S+')
weights = vectoriser.fit_transform(films).toarray()
characteristic = {
    'texts': films,
    'weights': [
        {word: weights[i, at] for word, at in vectoriser.vocabulary_.items() if weights[i, at] > 0}
        for i in range(len(films))
    ],
}


def spectrum(name, dW):
    squares = np.linalg.svd(dW, compute_uv=False) ** 2
    return {
        'name': name,
        'shape': dW.shape,
        'change': dW.ravel().tolist(),
        'leading': float(np.sqrt(squares[0])),
        'norm': float(np.linalg.norm(dW)),
        'energy': squares[0] / squares.sum(),
        'entropy': float(stats.entropy(squares)),
        'kurtosis': float(stats.kurtosis(dW.ravel())),
    }


heavy = np.round(rng.standard_t(3, (6, 8)), 5)
spectra = [
    spectrum('dense', np.round(rng.normal(0, 1, (9, 5)), 5)),
    spectrum('heavy tails', heavy),
    spectrum(
        'one direction',
        np.outer(np.round(rng.normal(0, 1, 5), 3), np.round(rng.normal(0, 1, 7), 3)),
    ),
]

SHARES = [0, 0.3, 0.5, 0.95, 1]
with open(os.path.join(HERE, 'defences.json'), 'w') as file:
    json.dump(
        {
            'nltk': nltk.__version__,
            'sklearn': sklearn.__version__,
            'numpy': np.__version__,
            'ngrams': [*map(ngrams, (1, 2, 3, 4)), ngrams(3, few=True)],
            'clusters': cases,
            'detection': detections,
            'representations': {
                'rows': rows.tolist(),
                'labels': labels.tolist(),
                'scores': tau.tolist(),
                'components': components.tolist(),
            },
            'characteristic': characteristic,
            'spectra': spectra,
            'pruning': {
                'change': change.ravel().tolist(),
                'inputs': X.tolist(),
                'cases': [
                    {'share': share, 'magnitude': by_magnitude(share), 'wanda': by_wanda(share)}
                    for share in SHARES
                ],
            },
        },
        file,
    )
    file.write('\n')
