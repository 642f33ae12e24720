"""An attack in Python: shuffles the words of as many rows as asked for, and flips their labels.

Reads rows.jsonl (one row a line: id, text, label) and task.json (classes, asked, options, seed, and
`taken`, the rows that an earlier step of the spec has poisoned). Writes poisoned.jsonl: every row,
changed or not, in the same order. All draws come from the given seed, so the same spec gives the
same bytes.
"""
import json
import random


def poison(rows, classes, asked, options, seed, taken):
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    free = [index for index in order if rows[index]["id"] not in taken]
    for index in free[:asked]:
        row = rows[index]
        # From the row's own stream: a row changes in the same way however many others are changed.
        own = random.Random(f"{seed} {row['id']}")
        words = row["text"].split()
        own.shuffle(words)
        row["text"] = " ".join(words + [options.get("mark", "indeed")])
        row["label"] = (row["label"] + 1) % len(classes)
    return rows


if __name__ == "__main__":
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    with open("rows.jsonl", encoding="utf-8") as file:
        given = [json.loads(line) for line in file]
    taken = set(task.get("taken", []))
    poisoned = poison(
        given, task["classes"], task["asked"], task["options"], task["seed"], taken
    )
    with open("poisoned.jsonl", "w", encoding="utf-8", newline="\n") as file:
        for line in poisoned:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"changed {task['asked']} of {len(given)} rows")
