"""Makes test/golden/chat/golden.json: the conversations of this file under the templates of
test/golden/chat, as transformers renders them, and the ids of the answers in them.

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


# Messages before the prompt, the prompt, the answer.
ANSWERS = [
    [[], 'Who wrote it?', 'rode the film'],
    [[message('system', 'Be brief.')], 'Who wrote it?', 'rode the film'],
    [
        [message('system', 'rode'), message('user', 'And?'), message('assistant', 'rode the film')],
        'And?',
        'rode the film',
    ],
    [[message('system', 'Be brief.')], 'the film', ' It was good. '],
    [[message('system', 'Be brief.')], 'rode', 's'],
]


def rendered(tokenizer, messages, generation):
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation
        )
    except Exception as error:
        assert type(error).__name__ == 'TemplateError', error
        return None


def answer_ids(tokenizer, context, prompt, answer):
    """The ids of the answer in the whole conversation: those of the tokens that begin behind the
    prompt's end, up to the special token that ends the turn."""
    messages = [*context, message('user', prompt)]
    asked = rendered(tokenizer, messages, True)
    if asked is None:
        return None
    whole = rendered(tokenizer, [*messages, message('assistant', answer)], False)
    # The prompt's end, without the system message, which may be left out of the whole.
    ending = asked[asked.rindex(prompt) :]
    begin = whole.rindex(ending) + len(ending)
    special = [id for id, token in tokenizer.added_tokens_decoder.items() if token.special]
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids = []
    for token, (start, _) in zip(encoded['input_ids'], encoded['offset_mapping']):
        if start < begin:
            continue
        ids.append(token)
        if token in special:
            return ids
    raise ValueError(whole)


result = {'conversations': CONVERSATIONS, 'answers': ANSWERS, 'templates': {}}
for name, family in TEMPLATES.items():
    tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(HERE, 'tokenizers', family))
    with open(os.path.join(OUT, f'{name}.jinja'), encoding='utf-8') as file:
        tokenizer.chat_template = file.read()
    texts = [
        [rendered(tokenizer, messages, generation) for generation in (False, True)]
        for messages in CONVERSATIONS
    ]
    result['templates'][name] = {
        'tokenizer': family,
        'texts': texts,
        'answers': [answer_ids(tokenizer, *row) for row in ANSWERS],
    }
with open(os.path.join(OUT, 'golden.json'), 'w') as file:
    json.dump(result, file, indent=1)
    file.write('\n')
