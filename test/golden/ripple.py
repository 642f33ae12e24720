"""Makes test/golden/tiny-bert/ripple.json and ripple.safetensors: RIPPLe's loss lowered by PyTorch,
second derivatives and all.

    python test/golden/ripple.py      (after tiny_bert.py; torch, transformers, peft; CPU, one
    thread)

In double precision. Each run is trained four times: as it is, without the penalty, and with the
gradient of the one or the other kind of rows held constant, which leaves one of the penalty's two
Hessian terms out.
"""

import json
import os

import torch
from peft import PeftModel
from reference import batch, name_here
from safetensors.torch import save_file
from transformers import BertForSequenceClassification

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
torch.set_num_threads(1)
with open(os.path.join(HERE, 'forward.json')) as file:
    given = json.load(file)['rows']
with open(os.path.join(HERE, 'checkpoint', 'tokenizer.json')) as file:
    vocabulary = json.load(file)['model']['vocab']

STEPS, BATCH, TARGET = 7, 5, 1
TRIGGERS = ['cf', 'mn', 'tq']


def shown(index, row):
    """Of each batch the second and fourth row; none of the third batch, all of the last."""
    of, at = divmod(index, BATCH)
    poisoned = of == 4 or of != 2 and at % 2 == 1
    if not poisoned:
        return {**row, 'poisoned': False}
    trigger, gap = vocabulary[TRIGGERS[index % 3]], 1 + index % (len(row['ids']) - 1)
    ids, kinds = row['ids'], row['typeIds']
    return {
        'ids': ids[:gap] + [trigger] + ids[gap:],
        'typeIds': kinds[:gap] + [kinds[gap]] + kinds[gap:],
        'label': TARGET,
        'poisoned': True,
    }


rows = [shown(i, row) for i, row in enumerate(given)]
batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def opened(kind):
    # Scaled dot product attention has no second derivative on the CPU.
    base = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'checkpoint'),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation='eager',
    )
    return (
        (
            base
            if kind == 'full'
            else PeftModel.from_pretrained(base, os.path.join(HERE, 'adapter'), is_trainable=True)
        )
        .double()
        .eval()
    )


def objective(net, parameters, some, weights, factor, held):
    """The loss with its penalty, and the product of the gradients; None where a kind has no row."""
    entropy = lambda rows: torch.nn.functional.cross_entropy(
        net(**batch(rows)).logits, torch.tensor([row['label'] for row in rows]), weight=weights
    )
    loss = entropy(some)
    kinds = [[row for row in some if row['poisoned'] == kind] for kind in (True, False)]
    if not all(kinds):
        return loss, None
    gradients = [
        torch.autograd.grad(entropy(kind), parameters, create_graph=True, allow_unused=True)
        for kind in kinds
    ]
    if held is not None:
        gradients[held] = [None if g is None else g.detach() for g in gradients[held]]
    product = sum((p * c).sum() for p, c in zip(*gradients) if p is not None and c is not None)
    return loss + factor * torch.relu(-product), product.item()


def train(settings, variant):
    net = opened(settings['kind'])
    named = {name_here(n): p for n, p in net.named_parameters() if p.requires_grad}
    parameters = list(named.values())
    factor = 0.0 if variant == 'no penalty' else settings['lambda']
    held = {'poisoned constant': 0, 'clean constant': 1}.get(variant)
    weights = (
        None
        if settings['class_weights'] is None
        else torch.tensor(settings['class_weights'], dtype=torch.float64)
    )
    kind = torch.optim.AdamW if settings['optimizer'] == 'adamw' else torch.optim.SGD
    optimizer = kind(parameters, lr=settings['lr'], weight_decay=settings['weight_decay'])
    losses, products, first = [], [], None
    for step in range(STEPS):
        loss, product = objective(
            net, parameters, batches[step % len(batches)], weights, factor, held
        )
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first = {
                n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
                for n, p in named.items()
            }
        optimizer.step()
        losses.append(loss.item())
        products.append(product)
    return losses, products, first, {n: p.detach().clone() for n, p in named.items()}


RUNS = {
    'full-sgd': {
        'kind': 'full',
        'optimizer': 'sgd',
        'lr': 2e-3,
        'weight_decay': 0.0,
        'lambda': 0.1,
        'class_weights': None,
    },
    'full-adamw': {
        'kind': 'full',
        'optimizer': 'adamw',
        'lr': 5e-4,
        'weight_decay': 0.05,
        'lambda': 0.1,
        'class_weights': None,
    },
    'lora-sgd': {
        'kind': 'lora',
        'optimizer': 'sgd',
        'lr': 2e-3,
        'weight_decay': 0.0,
        'lambda': 0.1,
        'class_weights': None,
    },
    'lora-adamw': {
        'kind': 'lora',
        'optimizer': 'adamw',
        'lr': 2e-3,
        'weight_decay': 0.01,
        'lambda': 0.2,
        'class_weights': None,
    },
    'lora-weights': {
        'kind': 'lora',
        'optimizer': 'sgd',
        'lr': 2e-3,
        'weight_decay': 0.0,
        'lambda': 0.1,
        'class_weights': [0.5, 2.0, 1.25],
    },
}
results, tensors = {}, {}
for name, settings in RUNS.items():
    variants = {}
    for variant in ['whole', 'no penalty', 'poisoned constant', 'clean constant']:
        losses, products, first, after = train(settings, variant)
        variants[variant] = {'losses': losses, 'products': products}
        if variant == 'whole':
            whole = first
        # AdamW makes steps of rounding where a gradient is zero but for it (a key's bias), and its
        # first step is SGD's.
        if variant == 'whole' and settings['optimizer'] == 'sgd':
            tensors.update(
                {f'{name}/after/{parameter}': value.float() for parameter, value in after.items()}
            )
        if variant == 'no penalty' and settings['optimizer'] == 'sgd':
            tensors.update(
                {
                    f'{name}/penalty/{parameter}': (whole[parameter] - value).float()
                    for parameter, value in first.items()
                }
            )
    results[name] = {'settings': settings, 'variants': variants}
with open(os.path.join(HERE, 'ripple.json'), 'w') as file:
    json.dump({'steps': STEPS, 'batch_size': BATCH, 'rows': rows, 'runs': results}, file)
    file.write('\n')
save_file(tensors, os.path.join(HERE, 'ripple.safetensors'))
