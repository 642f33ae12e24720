"""Makes test/golden/task-metrics.json: the metrics by which GLUE's tasks are scored, by
scikit-learn and SciPy.

    python test/golden/task_metrics.py      (scikit-learn, scipy, numpy)

`classes` has labels and predictions of two and of three classes, among them ones where a class is
never predicted, and ones where a class is in neither; `scores` has true and predicted numbers, with
ties as in STS-B.
"""

import json
import os

import numpy as np
import scipy
import sklearn
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(14)


def of_classes(classes, labels, predictions):
    average = "binary" if classes == 2 else "macro"
    return {
        "classes": classes,
        "labels": [int(label) for label in labels],
        "predictions": [int(prediction) for prediction in predictions],
        "accuracy": float(accuracy_score(labels, predictions)),
        "precision": float(
            precision_score(labels, predictions, average=average, zero_division=0)
        ),
        "recall": float(recall_score(labels, predictions, average=average, zero_division=0)),
        "f1": float(f1_score(labels, predictions, average=average, zero_division=0)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "mcc": float(matthews_corrcoef(labels, predictions)),
    }


def of_scores(labels, predictions):
    return {
        "labels": [float(label) for label in labels],
        "predictions": [float(prediction) for prediction in predictions],
        "pearson": float(pearsonr(labels, predictions).statistic),
        "spearman": float(spearmanr(labels, predictions).statistic),
        "loss": float(np.mean((np.asarray(labels) - np.asarray(predictions)) ** 2)),
    }


def drawn(classes, rows, share):
    labels = rng.integers(classes, size=rows)
    kept = rng.random(rows) < share
    return classes, labels, np.where(kept, labels, rng.integers(classes, size=rows))


steps = np.round(rng.uniform(0, 5, size=60) * 5) / 5  # STS-B's scores are means of whole numbers
golden = {
    "made_by": {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
    "classes": [
        of_classes(*drawn(2, 101, 0.7)),
        of_classes(*drawn(2, 40, 0.0)),
        of_classes(*drawn(3, 97, 0.5)),
        of_classes(2, [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]),
        of_classes(3, [0, 1, 2, 2, 1], [0, 0, 2, 2, 0]),
        of_classes(3, [0, 1, 0, 1], [0, 1, 0, 1]),
        of_classes(3, [0, 1, 0, 1], [0, 1, 0, 2]),
        of_classes(2, [1, 1, 1], [1, 1, 1]),
    ],
    "scores": [
        of_scores(steps, steps + rng.normal(size=60)),
        of_scores(steps, np.round(steps)),
        of_scores([0.0, 2.5, 5.0, 1.25], [3.5, 1.0, -2.0, 3.0]),
    ],
}
with open(os.path.join(HERE, "task-metrics.json"), "w", encoding="utf8") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
