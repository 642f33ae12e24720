"""Makes test/golden/tiny-bert/divergence.json: M of runs on clean and on flipped labels, by kind of
parameter, as PyTorch + PEFT train them.

python test/golden/divergence.py      (after tiny_bert.py; torch, transformers, peft, tokenizers;
CPU, one thread, double precision)
"""

import json
import os

import torch
from peft import PeftModel
from reference import batch
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
torch.set_num_threads(1)

STEPS, BATCH, RATE = 6, 4, 0.05
WORDS = ['the', 'film', 'was', 'good', 'bad', 'very', 'not', 'plot', 'actor', 'scene']
texts = [' '.join(WORDS[(3 * i + 7 * k) % len(WORDS)] for k in range(2 + i % 5)) for i in range(14)]
labels = [i % 3 for i in range(14)]
FLIPPED = {0: 1, 3: 2, 5: 0, 9: 2}

tokenizer = Tokenizer.from_file(os.path.join(HERE, 'checkpoint', 'tokenizer.json'))
tokenizer.no_padding()
tokenizer.no_truncation()
encoded = [tokenizer.encode(text) for text in texts]
rows = [{'ids': e.ids, 'typeIds': e.type_ids} for e in encoded]


def opened(kind):
    base = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'checkpoint'), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    if kind == 'lora':
        base = PeftModel.from_pretrained(base, os.path.join(HERE, 'adapter'), is_trainable=True)
    if kind == 'bitfit':
        for name, parameter in base.named_parameters():
            parameter.requires_grad = name.endswith('.bias') or name.startswith('classifier.')
    return base.double().eval()  # no dropout


def parts(model, kind):
    """Every trained value by the part that it belongs to: effective weights, biases, norms,
    embeddings, the head.
    """
    found = {}
    add = lambda part, value: found.setdefault(part, []).append(value.detach().flatten().clone())
    if kind == 'lora':
        for name, module in model.named_modules():
            if hasattr(module, 'lora_A') and len(module.lora_A) > 0:
                add(
                    'total',
                    module.base_layer.weight
                    + module.scaling['default']
                    * module.lora_B['default'].weight
                    @ module.lora_A['default'].weight,
                )
        for name, parameter in model.named_parameters():
            if 'modules_to_save' in name:
                add('head', parameter)
    else:
        linear = {
            f'{name}.weight'
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            part = (
                'head'
                if name.startswith('classifier.')
                else 'norms'
                if 'LayerNorm' in name
                else 'embeddings'
                if 'embeddings' in name
                else 'total'
                if name in linear
                else 'biases'
            )
            add(part, parameter)
    return {part: torch.cat(values) for part, values in found.items()}


def train(kind, targets):
    model = opened(kind)
    start = parts(model, kind)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE)
    at = 0
    for _ in range(STEPS):
        index = list(
            range(at, min(at + BATCH, len(rows)))
        )  # file order; an epoch's last batch is what is left
        at = 0 if at + BATCH >= len(rows) else at + BATCH
        loss = torch.nn.functional.cross_entropy(
            model(**batch([rows[i] for i in index])).logits,
            torch.tensor([targets[i] for i in index]),
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    end = parts(model, kind)
    return {part: end[part] - start[part] for part in end}


def distance(clean, poisoned):
    l2, change = (clean - poisoned).norm().item(), clean.norm().item()
    return {
        'largest': (clean - poisoned).abs().max().item(),
        'l2': l2,
        'clean_change': change,
        'relative': l2 / change,
    }


runs = {}
for kind in ['full', 'lora', 'bitfit']:
    clean, poisoned = (
        train(kind, labels),
        train(kind, [FLIPPED.get(i, label) for i, label in enumerate(labels)]),
    )
    runs[kind] = {part: distance(clean[part], poisoned[part]) for part in clean}
    below = [part for part in clean if part != 'head']
    runs[kind]['trained'] = distance(
        torch.cat([clean[part] for part in below]), torch.cat([poisoned[part] for part in below])
    )

with open(os.path.join(HERE, 'divergence.json'), 'w') as file:
    json.dump(
        {
            'steps': STEPS,
            'batch_size': BATCH,
            'learning_rate': RATE,
            'texts': texts,
            'labels': labels,
            'flipped': [[i, label] for i, label in FLIPPED.items()],
            'runs': runs,
        },
        file,
        indent=1,
    )
    file.write('\n')
