"""What transformers' fast tokenizers make of texts."""

import os
import tempfile

from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def opened(json, config, template=None):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in [
            ('tokenizer.json', json),
            ('tokenizer_config.json', config),
            ('chat_template.jinja', template),
        ]:
            if text is not None:
                with open(os.path.join(folder, name), 'w', encoding='utf-8', newline='') as file:
                    file.write(text)
        return PreTrainedTokenizerFast.from_pretrained(folder)


def encode(jobs):
    """For each job the ids of its texts, and their text with and without special tokens."""

    def encoded(json, config, texts):
        tokenizer = opened(json, config)
        ids = tokenizer(texts)['input_ids']
        return [
            [row, tokenizer.decode(row), tokenizer.decode(row, skip_special_tokens=True)]
            for row in ids
        ]

    return {name: encoded(**job) for name, job in jobs.items()}


def classes():
    """The code points that the expressions of tokenizers take for letters, numbers and marks."""
    found = {}
    for name in ['L', 'N', 'M']:
        split = pre_tokenizers.Split(Regex(f'\\p{{{name}}}'), 'isolated')
        points = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
        found[name] = [
            point for point in points if len(split.pre_tokenize_str(f'-{chr(point)}-')) == 3
        ]
    return found


def chat(jobs, conversations):
    """For each job the conversations rendered, with and without the beginning of an answer; null
    where the template raises.
    """

    def rendered(tokenizer, messages, generation):
        try:
            return tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation
            )
        except Exception as error:
            assert type(error).__name__ in ('TemplateError', 'UndefinedError'), error
            return None

    answer = {}
    for name, job in jobs.items():
        tokenizer = opened(**job)
        answer[name] = [
            [rendered(tokenizer, messages, generation) for generation in (False, True)]
            for messages in conversations
        ]
    return answer
