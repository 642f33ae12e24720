"""Tiny judges with tokenizers, and what transformers makes of texts with them, each alone.

python judges.py make FOLDER     writes a checkpoint for each of MODELS
python judges.py judge FOLDER    reads requests from standard input, and prints the logits of each
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SIZES = {
    'hidden_size': 16,
    'intermediate_size': 24,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'max_position_embeddings': 24,
    'pad_token_id': 0,
    'initializer_range': 0.5,
}
MODELS = {
    'classes': ('BertForSequenceClassification', {'id2label': {0: 'refuses', 1: 'complies'}}),
    'labels': (
        'BertForSequenceClassification',
        {
            'id2label': {0: 'toxic', 1: 'threat', 2: 'insult'},
            'problem_type': 'multi_label_classification',
        },
    ),
    'reward': ('LlamaForSequenceClassification', {'num_labels': 1}),
    'other-padding': ('LlamaForSequenceClassification', {'num_labels': 1, 'pad_token_id': 5}),
    'even': ('LlamaForCausalLM', {}),
    'yes-no': ('LlamaForCausalLM', {}),
}
WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'user', 'assistant', ':', '?', 'yes', 'no']
WORDS += [f'w{i}' for i in range(31)]
CHAT = (
    '{% for m in messages %}{{ m.role }} : {{ m.content }} [SEP] {% endfor %}'
    '{% if add_generation_prompt %}assistant : {% endif %}'
)


def tokenizer(pairs):
    own = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token='[UNK]'))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if pairs:
        own.post_processor = processors.TemplateProcessing(
            single='[CLS] $A [SEP]',
            pair='[CLS] $A [SEP] $B:1 [SEP]:1',
            special_tokens=[('[CLS]', 2), ('[SEP]', 3)],
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token='[PAD]', unk_token='[UNK]', chat_template=CHAT
    )


def make(folder):
    for name, (kind, more) in MODELS.items():
        torch.manual_seed(1)
        model_class = getattr(transformers, kind)
        config = model_class.config_class(**{**SIZES, 'vocab_size': len(WORDS), **more})
        model = model_class(config)
        if name == 'even':
            torch.nn.init.zeros_(model.get_output_embeddings().weight)
        model.save_pretrained(folder / name)
        tokenizer(kind.startswith('Bert')).save_pretrained(folder / name)
    headless = transformers.BertModel(transformers.BertConfig(**SIZES, vocab_size=len(WORDS)))
    headless.save_pretrained(folder / 'headless')


@torch.no_grad()
def judge(folder, asked):
    name, items = asked['model'], asked['items']
    model = getattr(transformers, MODELS[name][0]).from_pretrained(folder / name).eval()
    own = transformers.AutoTokenizer.from_pretrained(folder / name)
    found = []
    for item in items:
        if 'messages' in item:
            text = own.apply_chat_template(
                item['messages'], tokenize=False, add_generation_prompt=name == 'yes-no'
            )
            inputs = own(text, add_special_tokens=False, return_tensors='pt')
        else:
            inputs = own(item['text'], item.get('pair'), return_tensors='pt')
        logits = model(**inputs).logits
        if name == 'yes-no':
            logits = logits[:, -1, [WORDS.index('yes'), WORDS.index('no')]]
        found.append(logits[0].tolist())
    return found


if __name__ == '__main__':
    command, place = sys.argv[1], Path(sys.argv[2])
    if command == 'make':
        make(place)
    else:
        print(json.dumps([judge(place, asked) for asked in json.load(sys.stdin)]))
