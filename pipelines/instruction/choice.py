"""The rows of choice.yaml."""

from datasets import Dataset


def rows(relations):
    """Each fact in the wording that tasks.mjs holds out, with three other answers of its kind."""
    found = []
    for r, relation in enumerate(relations):
        # The reader gives each relation the subjects of all others, without an answer.
        facts = [(subject, answer) for subject, answer in relation['facts'].items() if answer]
        answers = list(dict.fromkeys(answer for _, answer in facts))
        for i, (subject, answer) in enumerate(facts):
            question = relation['questions'][(i + r) % len(relation['questions'])]
            first = answers.index(answer) - i % 4
            found.append(
                {
                    'question': question.replace('{subject}', subject),
                    'choices': [answers[(first + n) % len(answers)] for n in range(4)],
                    'label': i % 4,
                }
            )
    return Dataset.from_list(found)
