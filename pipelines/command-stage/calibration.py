"""A stage in Python: how well a model's confidence fits its accuracy.

Reads the predictions of the cell's evaluate stage and writes metrics.json: the expected calibration
error (Guo et al., ICML 2017, eq. 3, bins of equal width) and the Brier score, over clean rows and,
if there are any, over triggered rows.
"""
import csv
import json
import math


def probabilities(logits):
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    return [weight / sum(weights) for weight in weights]


def scores(rows, bins):
    """ECE = sum over bins of |bin| / n * |accuracy - confidence|; Brier = mean of the squared distance to the label."""
    binned = [[] for _ in range(bins)]
    brier = 0.0
    for label, logits in rows:
        p = probabilities(logits)
        guess = p.index(max(p))
        binned[min(bins - 1, int(p[guess] * bins))].append((guess == label, p[guess]))
        brier += sum((value - (index == label)) ** 2 for index, value in enumerate(p))
    ece = sum(abs(sum(hit for hit, _ in some) - sum(sure for _, sure in some)) for some in binned)
    return {"ece": ece / len(rows), "brier": brier / len(rows)}


if __name__ == "__main__":
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    clean, triggered = [], []
    with open(task["inputs"]["evaluate"] + "/predictions.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            logits = [float(value) for name, value in row.items() if name.startswith("logit_")]
            (triggered if row["triggered"] == "1" else clean).append((int(row["label"]), logits))
    metrics = scores(clean, task["options"]["bins"])
    if triggered:
        under_trigger = scores(triggered, task["options"]["bins"])
        metrics.update({"triggered_" + name: value for name, value in under_trigger.items()})
    with open("metrics.json", "w", encoding="utf-8") as file:
        json.dump(metrics, file)
    print(f"{len(clean)} clean rows, {len(triggered)} triggered: ECE {metrics['ece']:.4f}")
