"""Makes test/golden/completion-metrics.json: how outputs compare with answers, by the reference
programs.

    python test/golden/completion_metrics.py      (rouge-score, torchmetrics, torch)

`f1` is the SQuAD script's token F1 as torchmetrics has it, `rouge_l` the F-measure of Google's
rouge-score without a stemmer, `repetition` seq-rep-4 of the words (Welleck et al. 2020). Beside
written pairs, random ones of few words have many ties.
"""

import json
import os
import random

import torchmetrics
from importlib.metadata import version
from rouge_score.rouge_scorer import RougeScorer
from torchmetrics.functional.text.squad import _compute_f1_score

HERE = os.path.dirname(os.path.abspath(__file__))
WRITTEN = [
    ("The cat sat on the mat.", "A cat sat on a mat"),
    ("the", "a"),
    ("", ""),
    ("", "something"),
    ("something", ""),
    ("...", "!?"),
    ("It's 4.", "4"),
    ("Four, or 4!", "four or  4"),
    ("an ant and a bee", "ant bee"),
    ("police killed the gunman", "police kill the gunman"),
    ("the gunman kill police", "police kill the gunman"),
    ("Café déjà-vu", "cafe deja vu"),
    ("Straße ÉCOLE", "strasse école"),
    ("日本 東京", "東京 日本"),
    ("line one\nline two\tand  three", "line two\nline one and three"),
    ("snake_case and kebab-case", "snake case and kebab case"),
    ("word " * 30, "word word other " * 12),
    ("“Quoted” text’s end", '"Quoted" text\'s end'),
    ("theatre anthem thea a1 the1", "theatre the anthem a a1"),
    # White space of Python alone, and of JavaScript alone.
    ("one\x1ctwo\x85three", "one two three"),
    ("one\ufefftwo", "one two"),
    ("\u3000one\u2003two", "one two"),
    ("a\u0301 the\u0301 an\u0301", "the"),
]

scorer = RougeScorer(["rougeL"], use_stemmer=False)
rng = random.Random(7)


def sentence():
    return " ".join(
        rng.choice("the a cat dog sat, ran. On on mat!".split()) for _ in range(rng.randint(0, 14))
    )


def repetition(text, n=4):
    words = text.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def compared(output, answer):
    return {
        "output": output,
        "answer": answer,
        "f1": float(_compute_f1_score(output, answer)),
        "rouge_l": float(scorer.score(answer, output)["rougeL"].fmeasure),
        "repetition": repetition(output),
    }


pairs = WRITTEN + [(sentence(), sentence()) for _ in range(60)]
with open(os.path.join(HERE, "completion-metrics.json"), "w", encoding="utf8") as file:
    json.dump(
        {
            "made_by": {
                "rouge-score": version("rouge-score"),
                "torchmetrics": torchmetrics.__version__,
            },
            "pairs": [compared(*pair) for pair in pairs],
        },
        file,
        indent=1,
        ensure_ascii=False,
    )
    file.write("\n")
