"""Makes test/golden/chat/golden.json: the conversations of this file under the templates of
test/golden/chat, as transformers renders them.

    python test/golden/chat_templates.py      (transformers; after tiny_tokenizers.py)

The templates are written after the public ones of the models that they are named after.
"""

import json
import os

from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, 'chat')
# The template, and the tokenizer whose special tokens it writes.
TEMPLATES = {
    'llama2': 'llama2',
    'llama3': 'llama3',
    'chatml': 'qwen2',
    'qwen2': 'qwen2',
    'qwen3': 'qwen2',
    'zephyr': 'llama2',
    'gemma': 'gemma',
    'mistral': 'mistral',
}


def message(role, content):
    return {'role': role, 'content': content}


CONVERSATIONS = [
    [message('user', 'Hello!')],
    [message('system', 'Be brief.'), message('user', ' Is it free?\n')],
    [message('user', 'the film'), message('assistant', ' It was good.\n')],
    [
        message('system', 'You see\nlines.'),
        message('user', 'Ünï "quotes" {braces} {{ x }}'),
        message('assistant', '<think>\nso\n</think>\n\nyes'),
        message('user', 'And <b>now</b>?'),
    ],
    [message('user', 'a'), message('user', 'b')],
    [message('user', ''), message('assistant', '')],
]


def rendered(tokenizer, messages, generation):
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation
        )
    except Exception as error:
        assert type(error).__name__ == 'TemplateError', error
        return None


result = {'conversations': CONVERSATIONS, 'templates': {}}
for name, family in TEMPLATES.items():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(HERE, 'tokenizers', family))
    with open(os.path.join(OUT, f'{name}.jinja'), encoding='utf-8') as file:
        tokenizer.chat_template = file.read()
    answers = [
        [rendered(tokenizer, messages, generation) for generation in (False, True)]
        for messages in CONVERSATIONS
    ]
    result['templates'][name] = {'tokenizer': family, 'texts': answers}
with open(os.path.join(OUT, 'golden.json'), 'w') as file:
    json.dump(result, file, indent=1)
    file.write('\n')
