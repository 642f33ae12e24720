"""Makes test/golden/minilm.json: logits, token ids and training losses of all-MiniLM-L6-v2 by
transformers and PEFT.

    python test/golden/minilm.py FOLDER      (torch, transformers, peft; FOLDER holds config.json,
    model.safetensors, tokenizer.json)

The head and LoRA's A and B are given by formulas, so that no weight needs to be stored.
"""

import json
import math
import os
import sys

import torch
from peft import LoraConfig, get_peft_model
from reference import batch
from strings import PAIRS, STRINGS
from transformers import AutoTokenizer, BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = sys.argv[1]
torch.set_num_threads(1)
LENGTH, STEPS, BATCH = 48, 12, 6
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
texts = [[s, None] for s in STRINGS if s.strip()] + PAIRS[:5]
rows = []
for i, (text, pair) in enumerate(texts):
    encoding = tokenizer(text, pair, truncation='longest_first', max_length=LENGTH)
    rows.append(
        {
            'text': text,
            'pair': pair,
            'label': i % 2,
            'ids': encoding['input_ids'],
            'typeIds': encoding['token_type_ids'],
        }
    )


def wave(shape, phase, scale):
    """scale · sin(phase + 0.7 i + 1.3 j) in double precision, rounded to float32."""
    i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing='ij')
    return (scale * torch.sin(phase + 0.7 * i + 1.3 * j)).float()


def model(lora):
    net = BertForSequenceClassification.from_pretrained(FOLDER, num_labels=2)
    with torch.no_grad():
        net.classifier.weight.copy_(wave(net.classifier.weight.shape, 0.5, 0.1))
        net.classifier.bias.zero_()
    if lora:
        net = get_peft_model(
            net,
            LoraConfig(
                task_type='SEQ_CLS',
                r=8,
                lora_alpha=8,
                target_modules='all-linear',
                lora_dropout=0.0,
            ),
        )
        layer = 0
        with torch.no_grad():
            for name, module in net.named_modules():
                if hasattr(module, 'lora_A') and 'default' in module.lora_A:
                    A, B = module.lora_A['default'].weight, module.lora_B['default'].weight
                    A.copy_(wave(A.shape, layer, 0.04))
                    B.copy_(wave(B.shape, layer + 0.25, 0.01))
                    layer += 1
        assert layer == 37, layer
    return net.eval()  # no dropout


def train(net, lr):
    optimizer = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], lr=lr, weight_decay=0.01
    )
    losses = []
    for step in range(STEPS):
        some = [rows[(step * BATCH + k) % len(rows)] for k in range(BATCH)]
        loss = torch.nn.functional.cross_entropy(
            net(**batch(some)).logits, torch.tensor([row['label'] for row in some])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


with torch.no_grad():
    logits = {
        kind: model(kind == 'lora')(**batch(rows)).logits.tolist() for kind in ['full', 'lora']
    }
rates = {'lora': 1e-3, 'full': 1e-4}
result = {
    'max_length': LENGTH,
    'batch_size': BATCH,
    'learning_rates': rates,
    'rows': rows,
    'logits': logits,
    'losses': {kind: train(model(kind == 'lora'), lr) for kind, lr in rates.items()},
}
with open(os.path.join(HERE, 'minilm.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
