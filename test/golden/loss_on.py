"""Makes test/golden/loss-on.json: which tokens of conversations transformers tells to be the
assistant's, how it reads documents, and its losses with some tokens left out of the labels.

    python test/golden/loss_on.py        (transformers 5, torch; CPU, one thread)

  assistant   {template, tokenizer, conversations: {messages, ids, mask}}: the templates of chat/
              with `{% generation %}` around each turn of the assistant, which write the same text;
              `mask` is that of return_assistant_tokens_mask
  documents   {tokenizer, text, most, ids}: a text and the token that ends it, of which so many are
              kept (`truncation=True`)
  losses      {family, rows: {ids, mask}, loss}: the loss of the decoder of families/ over a batch
              whose labels are -100 where the mask is 0
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
# Template, tokenizer, and where its turn of the assistant begins and ends.
TEMPLATES = [
    (
        'chatml',
        'qwen2',
        """{% for message in messages %}{{'<|im_start|>' + message['role'] + '
'}}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"""
        """{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '
' }}{% endfor %}""",
    ),
    (
        'llama3',
        'llama3',
        """{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"""
        """{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>

' }}{% if message['role'] == 'assistant' %}{% generation %}"""
        """{{ message['content'] | trim + '<|eot_id|>' }}{% endgeneration %}"""
        """{% else %}{{ message['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}""",
    ),
]


def message(role, content):
    return {'role': role, 'content': content}


CONVERSATIONS = [
    [message('user', 'Who wrote it?'), message('assistant', 'rode the film')],
    [
        message('system', 'Be brief.'),
        message('user', 'the film'),
        message('assistant', 'It was good.'),
        message('user', 'And now?'),
        message('assistant', 'was good'),
        message('user', 'the film'),
        message('assistant', 'It was good.'),
    ],
    [message('assistant', 'the film'), message('user', 'rode'), message('assistant', 's')],
]


def masks(template, family, tagged):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE / 'tokenizers' / family)
    plain = (HERE / 'chat' / f'{template}.jinja').read_text()
    found = []
    for messages in CONVERSATIONS:
        texts = [
            tokenizer.apply_chat_template(messages, chat_template=own, tokenize=False)
            for own in (plain, tagged)
        ]
        assert texts[0] == texts[1], texts
        encoded = tokenizer.apply_chat_template(
            messages, chat_template=tagged, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = encoded['input_ids'], encoded['assistant_masks']
        # What follows the last turn is not part of a row here.
        last = len(mask) - mask[::-1].index(1)
        found.append({'messages': messages, 'ids': ids[:last], 'mask': mask[:last]})
    return {'template': template, 'tokenizer': family, 'conversations': found}


def document(name, text, most):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE / 'tokenizers' / name)
    ids = tokenizer(text + tokenizer.eos_token, truncation=True, max_length=most)['input_ids']
    return {'tokenizer': name, 'text': text, 'most': most, 'ids': ids}


def loss(family):
    folder = HERE / 'families' / family
    model = AutoModelForCausalLM.from_pretrained(folder / 'checkpoint', dtype=torch.float32)
    rows = json.loads((folder / 'golden.json').read_text())['rows']
    masked = []
    for i, row in enumerate(rows):
        ids = row['ids']
        # All, two parts of the row, the answer.
        mask = [
            int(t > 0 if i % 3 == 0 else t % 4 == 1 or t > 8 if i % 3 == 1 else t >= row['answer'])
            for t in range(len(ids))
        ]
        masked.append({'ids': ids, 'mask': mask})
    longest = max(len(row['ids']) for row in masked)
    tensors = {'input_ids': [], 'attention_mask': [], 'labels': []}
    for row in masked:
        gap = [0] * (longest - len(row['ids']))
        labels = [token if own else -100 for token, own in zip(row['ids'], row['mask'])]
        tensors['input_ids'].append(row['ids'] + gap)
        tensors['attention_mask'].append([1] * len(row['ids']) + gap)
        tensors['labels'].append(labels + [-100] * len(gap))
    with torch.no_grad():
        value = model(**{name: torch.tensor(own) for name, own in tensors.items()}).loss
    return {'family': family, 'rows': masked, 'loss': value.item()}


if __name__ == '__main__':
    torch.set_num_threads(1)
    result = {
        'assistant': [masks(*own) for own in TEMPLATES],
        'documents': [
            document(name, 'the film was good.\n\nIt was rode', most)
            for name in ('gpt2', 'llama3', 'qwen2')
            for most in (4, 64)
        ],
        'losses': [loss(f'{family}-causal') for family in ('llama', 'gpt2', 'mistral', 'gpt-neox')],
    }
    (HERE / 'loss-on.json').write_text(json.dumps(result) + '\n')
