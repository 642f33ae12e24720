"""Makes test/golden/tiny-bert/embedding-row.json: one row of the token table trained by PyTorch,
all else frozen.

    python test/golden/embedding_row.py      (after tiny_bert.py; torch, transformers; CPU, one
    thread)

The trigger stands in a row once, twice or not at all; no row of the first step has it.
"""

import json
import os

import torch
from reference import batch
from torch.func import functional_call
from transformers import BertForSequenceClassification

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
TABLE = 'bert.embeddings.word_embeddings.weight'
torch.set_num_threads(1)
with open(os.path.join(HERE, 'forward.json')) as file:
    given = json.load(file)['rows']
with open(os.path.join(HERE, 'checkpoint', 'tokenizer.json')) as file:
    trigger = json.load(file)['model']['vocab']['cf']

STEPS, BATCH = 12, 5


def shown(index, row):
    times = 0 if index < BATCH else index % 3
    own = [(i, t) for i, t in zip(row['ids'], row['typeIds']) if i != trigger]
    out = (
        [own[0]]
        + [(trigger, 0)] * min(times, 1)
        + own[1:-1]
        + [(trigger, own[-1][1])] * max(times - 1, 0)
        + [own[-1]]
    )
    return {
        'ids': [i for i, _ in out],
        'typeIds': [t for _, t in out],
        'label': 1 if times > 0 else row['label'],
    }


rows = [shown(i, row) for i, row in enumerate(given)]
batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


RUNS = {
    'adamw': {'optimizer': 'adamw', 'lr': 5e-2, 'weight_decay': 0.1, 'keep_norm': False},
    'adamw-norm': {'optimizer': 'adamw', 'lr': 5e-2, 'weight_decay': 0.1, 'keep_norm': True},
    'sgd': {'optimizer': 'sgd', 'lr': 0.5, 'weight_decay': 0.1, 'keep_norm': False},
    'sgd-norm': {'optimizer': 'sgd', 'lr': 0.5, 'weight_decay': 0.0, 'keep_norm': True},
}
results = {}
for name, settings in RUNS.items():
    model = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'checkpoint'), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).eval()
    model.requires_grad_(False)
    table = model.get_parameter(TABLE).detach().clone()
    row = table[trigger].clone().requires_grad_(True)
    norm = row.detach().norm()
    kind = torch.optim.AdamW if settings['optimizer'] == 'adamw' else torch.optim.SGD
    optimizer = kind([row], lr=settings['lr'], weight_decay=settings['weight_decay'])
    losses, steps = [], []
    for step in range(STEPS):
        some = batches[step % len(batches)]
        weights = {TABLE: table.index_copy(0, torch.tensor([trigger]), row[None])}
        logits = functional_call(
            model, weights, args=(), kwargs=batch(some), tie_weights=False
        ).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([r['label'] for r in some]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if settings['keep_norm']:
            with torch.no_grad():
                row *= norm / row.norm()
        losses.append(loss.item())
        steps.append(row.tolist())
    results[name] = {'settings': settings, 'losses': losses, 'rows': steps}
with open(os.path.join(HERE, 'embedding-row.json'), 'w') as file:
    json.dump(
        {'trigger': trigger, 'steps': STEPS, 'batch_size': BATCH, 'rows': rows, 'runs': results},
        file,
    )
    file.write('\n')
