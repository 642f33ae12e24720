"""Makes test/golden/tiny-bert/two-step.json: a training that starts from another's merged model, as
PyTorch + PEFT have it.

python test/golden/two_step.py      (after tiny_bert.py; torch, transformers, peft; CPU, one thread)
"""

import json
import os

import torch
from peft import PeftModel
from reference import batch
from transformers import BertForSequenceClassification

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
torch.set_num_threads(1)
with open(os.path.join(HERE, 'forward.json')) as file:
    rows = json.load(file)['rows']

STEPS, BATCH = 12, 5
batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
SETTINGS = {'base': {'lr': 5e-3, 'weight_decay': 0.01}, 'own': {'lr': 2e-3, 'weight_decay': 0.05}}


def flipped(label):
    """The base learns other labels, so that what it leaves shows in the second training."""
    return (label + 1) % 3


def train(net, settings, label):
    net.eval()  # no dropout
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], **settings)
    losses = []
    for step in range(STEPS):
        some = batches[step % len(batches)]
        loss = torch.nn.functional.cross_entropy(
            net(**batch(some)).logits, torch.tensor([label(row['label']) for row in some])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def opened(kind, model, head=None):
    """Under the golden adapter, its head or one given in its place; or in full."""
    if kind == 'full':
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model
    net = PeftModel.from_pretrained(model, os.path.join(HERE, 'adapter'), is_trainable=True)
    if head is not None:
        net.base_model.model.classifier.modules_to_save['default'].load_state_dict(head)
    return net


runs = {}
for name in ['lora-full', 'full-lora', 'lora-lora']:
    first, second = name.split('-')
    fresh = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'checkpoint'), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    base = opened(first, fresh)
    losses = [train(base, SETTINGS['base'], flipped)]
    merged = base.merge_and_unload() if first == 'lora' else base
    head = {n: p.detach().clone() for n, p in merged.classifier.state_dict().items()}
    own = opened(second, merged, head)
    losses.append(train(own, SETTINGS['own'], lambda label: label))
    with torch.no_grad():
        runs[name] = {
            'base': losses[0],
            'own': losses[1],
            'logits': own.eval()(**batch(rows)).logits.tolist(),
        }
with open(os.path.join(HERE, 'two-step.json'), 'w') as file:
    json.dump({'steps': STEPS, 'batch_size': BATCH, 'settings': SETTINGS, 'runs': runs}, file)
    file.write('\n')
