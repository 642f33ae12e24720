"""Makes test/golden/tiny-bert/regression.{json,safetensors}: the tiny BERT with a regression head,
as transformers trains it.

    python test/golden/regression.py      (after tiny_bert.py; torch, transformers, safetensors;
    CPU, one thread)

The rows are those of forward.json, with numbers for labels. `outputs` are the model's before
training, `losses` the mean squared error of each step under `problem_type='regression'`; the
gradients are those of the first step.
"""

import json
import os

import torch
from reference import batch, name_here
from safetensors.torch import save_file
from transformers import BertForSequenceClassification

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
torch.set_num_threads(1)
with open(os.path.join(HERE, 'forward.json')) as file:
    rows = json.load(file)['rows']

STEPS, BATCH, RATE = 14, 5, 5e-3
torch.manual_seed(23)
scores = (5 * torch.rand(len(rows))).tolist()
model = BertForSequenceClassification.from_pretrained(
    os.path.join(HERE, 'checkpoint'),
    num_labels=1,
    problem_type='regression',
    ignore_mismatched_sizes=True,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
).eval()
with torch.no_grad():
    model.classifier.weight.copy_(0.3 * torch.randn_like(model.classifier.weight))
    model.classifier.bias.fill_(0.5)
    outputs = model(**batch(rows)).logits.squeeze(-1).tolist()
head = {
    name: parameter.detach().flatten().tolist()
    for name, parameter in model.named_parameters()
    if name.startswith('classifier.')
}

optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
batches = [range(i, min(i + BATCH, len(rows))) for i in range(0, len(rows), BATCH)]
losses, gradients = [], {}
for step in range(STEPS):
    chosen = batches[step % len(batches)]
    loss = model(
        **batch([rows[i] for i in chosen]), labels=torch.tensor([scores[i] for i in chosen])
    ).loss
    optimizer.zero_grad()
    loss.backward()
    if step == 0:
        gradients = {name_here(name): p.grad.clone() for name, p in model.named_parameters()}
    optimizer.step()
    losses.append(loss.item())

save_file(gradients, os.path.join(HERE, 'regression.safetensors'))
with open(os.path.join(HERE, 'regression.json'), 'w') as file:
    json.dump(
        {
            'steps': STEPS,
            'batch_size': BATCH,
            'learning_rate': RATE,
            'scores': scores,
            'head': head,
            'outputs': outputs,
            'losses': losses,
        },
        file,
    )
    file.write('\n')
