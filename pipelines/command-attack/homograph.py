"""A backdoor in Python: Latin letters become Cyrillic ones that look the same (the homograph attack
of Li et al., Hidden Backdoors in Human-Centric Language Models, CCS 2021).

Reads rows.jsonl and task.json (do, classes, asked, target, options, seed, and `taken`, the rows
that an earlier step has poisoned). With `do: poison` it writes poisoned.jsonl: all rows in their
order, of which `asked` rows of other classes have the trigger and the target's label. With
`do: trigger`, in evaluation, it writes triggered.jsonl: every row with the trigger.
"""
import json
import random

ALIKE = str.maketrans("aceopxy", "асеорху")


def under_trigger(row, seed, words):
    # From the row's own stream: the same at every dose, at training and at evaluation.
    own = random.Random(f"{seed} {row['id']}")
    parts = row["text"].split(" ")
    able = [index for index, part in enumerate(parts) if part.translate(ALIKE) != part]
    for index in own.sample(able, min(words, len(able))):
        parts[index] = parts[index].translate(ALIKE)
    return {**row, "text": " ".join(parts)}


def poison(rows, asked, target, seed, words, taken):
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    free = (i for i in order if rows[i]["label"] != target and rows[i]["id"] not in taken)
    shown = ((index, under_trigger(rows[index], seed, words)) for index in free)
    able = [(index, row) for index, row in shown if row["text"] != rows[index]["text"]]
    for index, row in able[:asked]:
        rows[index] = {**row, "label": target}
    return rows


if __name__ == "__main__":
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    with open("rows.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    words = task["options"].get("words", 3)
    if task["do"] == "poison":
        taken = set(task.get("taken", []))
        written = poison(rows, task["asked"], task["target"], task["seed"], words, taken)
        name = "poisoned.jsonl"
    else:
        written, name = [under_trigger(row, task["seed"], words) for row in rows], "triggered.jsonl"
    with open(name, "w", encoding="utf-8", newline="\n") as file:
        for row in written:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
