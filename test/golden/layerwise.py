"""Makes test/golden/layerwise: the sum over layers of each layer's cross-entropy under the model's
own head, by PyTorch.

    python test/golden/layerwise.py      (after tiny_bert.py and tiny_mlm.py; torch, transformers,
    peft, safetensors; CPU, one thread)

The hidden states are transformers' own (output_hidden_states), of which the embeddings' output, the
first, is left out.
"""

import json
import os

import torch
from peft import PeftModel
from reference import batch, name_here
from safetensors.torch import save_file
from transformers import BertForMaskedLM, BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, 'layerwise')
os.makedirs(OUT, exist_ok=True)
torch.set_num_threads(1)
with open(os.path.join(HERE, 'tiny-bert', 'forward.json')) as file:
    rows = json.load(file)['rows']
with open(os.path.join(HERE, 'tiny-mlm', 'golden.json')) as file:
    mlm = json.load(file)
STEPS, BATCH, WEIGHTS = 12, 5, [0.5, 2.0, 1.25]
SETTINGS = {
    'full': {'lr': 3e-3, 'weight_decay': 0.05},
    'lora': {'lr': 1e-2, 'weight_decay': 0.05},
    'cloze': {'lr': 3e-3, 'weight_decay': 0.05},
}


def classifier_logits(net, some):
    """By layer, (B, C)."""
    states = net(**batch(some), output_hidden_states=True).hidden_states
    model = net.base_model.model if isinstance(net, PeftModel) else net
    return [model.classifier(model.dropout(model.bert.pooler(h))) for h in states[1:]]


def cloze_logits(net, some):
    states = net(**batch(some), output_hidden_states=True).hidden_states
    masks = torch.tensor([row['mask'] for row in some])
    return [net.cls(h)[torch.arange(len(some)), masks][:, mlm['tokens']] for h in states[1:]]


def opened(kind):
    off = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
    if kind == 'cloze':
        return BertForMaskedLM.from_pretrained(
            os.path.join(HERE, 'tiny-mlm', 'checkpoint'), **off
        ).eval()
    base = BertForSequenceClassification.from_pretrained(
        os.path.join(HERE, 'tiny-bert', 'checkpoint'), **off
    )
    return (
        base
        if kind == 'full'
        else PeftModel.from_pretrained(
            base, os.path.join(HERE, 'tiny-bert', 'adapter'), is_trainable=True
        )
    ).eval()


results = {}
for kind, settings in SETTINGS.items():
    given, logits_of = (mlm['rows'], cloze_logits) if kind == 'cloze' else (rows, classifier_logits)
    batches = [given[i : i + BATCH] for i in range(0, len(given), BATCH)]
    net = opened(kind)
    with torch.no_grad():
        logits = logits_of(net, given)

    def loss_of(some, weights=None):
        labels = torch.tensor([row['label'] for row in some])
        return sum(
            torch.nn.functional.cross_entropy(layer, labels, weight=weights)
            for layer in logits_of(net, some)
        )

    with torch.no_grad():
        weighted = loss_of(batches[0], torch.tensor(WEIGHTS)).item()
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, **settings)
    losses = []
    for step in range(STEPS):
        loss = loss_of(batches[step % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            save_file(
                {
                    name_here(n): p.grad.clone().contiguous()
                    for n, p in net.named_parameters()
                    if p.requires_grad
                },
                os.path.join(OUT, f'gradients-{kind}.safetensors'),
            )
        optimizer.step()
        losses.append(loss.item())
    results[kind] = {
        'settings': settings,
        'logits': [layer.tolist() for layer in logits],
        'weighted_loss': weighted,
        'losses': losses,
    }
with open(os.path.join(OUT, 'golden.json'), 'w') as file:
    json.dump(
        {'steps': STEPS, 'batch_size': BATCH, 'class_weights': WEIGHTS, 'runs': results}, file
    )
    file.write('\n')
