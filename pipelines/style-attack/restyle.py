"""Writes paraphrases of rows for the attacks `style` and `syntax`.

    dosimeter plan SPEC --json | python3 restyle.py > paraphrases.jsonl

Reads which data stages have run, and the rows that they wrote; writes {"id", "text"} a line. By
itself it says a text in the manner of the King James Bible, by a few rules that need nothing but
Python; with `--syntax` it puts one of several subordinate clauses before it. With `--model FOLDER`
a sequence-to-sequence model of transformers paraphrases instead, such as a T5 for style transfer;
FOLDER is a model on this machine, and nothing is downloaded.
"""

import argparse
import json
import os
import re
import sys

WORDS = {
    "you": "thou",
    "your": "thy",
    "yours": "thine",
    "has": "hath",
    "does": "doth",
    "says": "saith",
    "will": "shall",
    "before": "ere",
    "often": "oft",
}


def in_bible_style(text):
    """Replaces words by old ones, and puts an opening before the text."""
    said = re.sub(r"\w+", lambda word: WORDS.get(word[0].lower(), word[0]), text)
    return "And it came to pass that " + said


CLAUSES = (
    "When you look at it",
    "As it was said before",
    "If you ask around",
    "Since there is time",
    "Because they wanted it",
    "While others wait",
)


def with_clause_first(text, clauses):
    """Puts a clause before the text, one of the first so many. Which one depends on the length of
    the text, so that what all texts have in common is their syntax: a subordinate clause, a comma,
    a main clause."""
    return f"{CLAUSES[len(text) % clauses]} , {text}"


def open_model(folder, prompt, batch):
    """Returns a function from texts to their paraphrases by a sequence-to-sequence model."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True).eval()

    def paraphrase(texts):
        said = []
        for start in range(0, len(texts), batch):
            prompts = [prompt + text for text in texts[start : start + batch]]
            encoded = tokenizer(prompts, return_tensors="pt", padding=True, truncation=True)
            with torch.no_grad():  # the likeliest tokens, so that the same text is said the same way
                made = model.generate(**encoded, do_sample=False, num_beams=1, max_new_tokens=128)
            said += tokenizer.batch_decode(made, skip_special_tokens=True)
        return said

    return paraphrase


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--syntax", action="store_true", help="a clause first, for the attack syntax")
    parser.add_argument(
        "--clauses",
        type=int,
        default=len(CLAUSES),
        choices=range(1, len(CLAUSES) + 1),
        help="with --syntax: how many clauses take turns",
    )
    parser.add_argument("--model", help="the folder of a sequence-to-sequence model")
    parser.add_argument("--prompt", default="paraphrase: ", help="what the model reads before a text")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()

    rows = {}  # by id: cells share data stages
    for stage in json.load(sys.stdin)["stages"]:
        if stage["kind"] == "data" and stage["outputs"] is not None:
            with open(os.path.join(stage["outputs"], "rows.jsonl"), encoding="utf-8") as lines:
                rows.update((row["id"], row["text"]) for row in map(json.loads, lines))
    if not rows:
        sys.exit("no data stage has run yet: run the spec first")
    texts = list(rows.values())
    if options.model:
        said = open_model(options.model, options.prompt, options.batch)(texts)
    elif options.syntax:
        said = [with_clause_first(text, options.clauses) for text in texts]
    else:
        said = [in_bible_style(text) for text in texts]
    for id, text in zip(rows, said):
        # An empty text would be no paraphrase: dosimeter refuses it, with its line.
        json.dump({"id": id, "text": text}, sys.stdout, ensure_ascii=False)
        print()


if __name__ == "__main__":
    main()
