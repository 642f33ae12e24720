"""Makes test/golden/defence-models.json: what the defences read of a model, by PyTorch,
transformers and PEFT.

    python test/golden/defence_models.py      (after tiny_bert.py and families.py; torch,
    transformers, peft; CPU, one thread)

In double precision, row by row, so that nothing is padded. `crow` follows CROW's definition with
transformers' own hidden states: the consistency of consecutive layers, its gradient by the
embeddings, and the gradient of the consistency under a perturbation of the embeddings.
"""

import json
import os

import torch
from peft import PeftModel
from reference import batch, name_here
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
)

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)
torch.manual_seed(3)
read = lambda *path: json.load(open(os.path.join(HERE, *path)))
family = lambda name: os.path.join(HERE, 'families', name)
tiny = read('tiny-bert', 'forward.json')['rows']
EPSILON, SOME = 0.1, 5


def inputs(net, row):
    given = batch([row])
    return (
        given if 'typeIds' in row else {key: given[key] for key in ('input_ids', 'attention_mask')}
    )


def opened(kind):
    if kind in ('full', 'lora'):
        base = BertForSequenceClassification.from_pretrained(
            os.path.join(HERE, 'tiny-bert', 'checkpoint')
        )
        net = (
            base
            if kind == 'full'
            else PeftModel.from_pretrained(
                base, os.path.join(HERE, 'tiny-bert', 'adapter'), is_trainable=True
            )
        )
        return net.double().eval(), tiny
    return AutoModelForSequenceClassification.from_pretrained(
        os.path.join(family(kind), 'checkpoint')
    ).double().eval(), read('families', kind, 'golden.json')['rows']


# ---- CROW ----------------------------------------------------------------------------------------
def crow(kind):
    net, rows = opened(kind)
    rows = rows[:SOME]
    table = (net.base_model.model if isinstance(net, PeftModel) else net).get_input_embeddings()

    def inconsistency(shifts=None):
        """The mean over all tokens of all rows and all pairs of layers, and the embeddings of each
        row.
        """
        total, count, embedded = 0, 0, []
        for i, row in enumerate(rows):
            given = inputs(net, row)
            E = table(given.pop('input_ids'))
            E = E.detach().requires_grad_() if shifts is None else E + shifts[i]
            embedded.append(E)
            states = net(inputs_embeds=E, output_hidden_states=True, **given).hidden_states[1:]
            for a, b in zip(states, states[1:]):
                cosines = torch.nn.functional.cosine_similarity(a, b, dim=-1)
                total, count = total + (1 - cosines).sum(), count + cosines.numel()
        return total / count, embedded

    plain, embedded = inconsistency()
    by_embedding = torch.autograd.grad(plain, embedded)
    shifts = [EPSILON * g.sign() for g in by_embedding]
    shifted, _ = inconsistency(shifts)
    shifted.backward()
    weights = lambda g: [
        g.norm().item(),
        (torch.cos(1 + torch.arange(g.numel(), dtype=torch.double)) * g.flatten()).sum().item(),
    ]
    return {
        'kind': kind,
        'rows': SOME,
        'epsilon': EPSILON,
        'inconsistency': plain.item(),
        'by_embedding': torch.cat([g[0] for g in by_embedding]).flatten().tolist(),
        'shifted': shifted.item(),
        'gradients': {
            name_here(n): weights(p.grad)
            for n, p in net.named_parameters()
            if p.requires_grad and p.grad is not None and p.grad.norm() > 0
        }
        if kind in ('full', 'lora')
        else {},
    }


# ---- representations, input norms, perplexities --------------------------------------------------
def pooled():
    net, rows = opened('lora')
    out = [net.base_model.model.bert(**batch([row])).pooler_output[0] for row in rows]
    cloze = read('families', 'bert-cloze', 'golden.json')['rows']
    lm = (
        AutoModelForMaskedLM.from_pretrained(os.path.join(family('bert-cloze'), 'checkpoint'))
        .double()
        .eval()
    )
    roberta = (
        AutoModelForSequenceClassification.from_pretrained(
            os.path.join(family('roberta-classifier'), 'checkpoint')
        )
        .double()
        .eval()
    )
    texts = read('families', 'roberta-classifier', 'golden.json')['rows']
    dense = lambda row: torch.tanh(
        roberta.classifier.dense(roberta.roberta(**inputs(roberta, row)).last_hidden_state[:, 0])
    )[0]
    return {
        'tiny-bert': [x.tolist() for x in out],
        'bert-cloze': [
            lm.bert(**batch([row])).last_hidden_state[0, row['mask']].tolist() for row in cloze
        ],
        'roberta-classifier': [dense(row).tolist() for row in texts],
    }


def norms():
    net, rows = opened('full')
    squares = {}
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda _, given, __, name=name: squares.__setitem__(
                    name,
                    squares.get(name, 0) + given[0].reshape(-1, given[0].shape[-1]).pow(2).sum(0),
                )
            )
    for row in rows:
        net(**batch([row]))
    return {name_here(name): total.sqrt().tolist() for name, total in squares.items()}


def perplexities(name):
    net = (
        AutoModelForCausalLM.from_pretrained(os.path.join(family(name), 'checkpoint'))
        .double()
        .eval()
    )
    rows = [row['ids'] for row in read('families', name, 'golden.json')['rows']]
    loss = lambda ids: (
        net(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.exp().item()
    )
    return {
        'name': name,
        'texts': rows,
        'perplexities': [loss(ids) for ids in rows],
        'without': [loss(rows[0][:i] + rows[0][i + 1 :]) for i in range(len(rows[0]))],
    }


# ---- RAP -----------------------------------------------------------------------------------------
def rap():
    """A word in front of some texts, of whose embedding two epochs are trained as the authors' code
    does, gradients zeroed.
    """
    net, rows = opened('full')
    word, some, bounds, rate, size = (
        7,
        rows[:7],
        {'low': 0.001, 'up': 0.004, 'weight': 1.5},
        20.0,
        3,
    )
    table = net.get_input_embeddings().weight
    norm = table[word].norm().item()
    marked = [
        {'ids': [row['ids'][0], word, *row['ids'][1:]], 'typeIds': [0, *row['typeIds']]}
        for row in some
    ]
    softmax = lambda row: net(**batch([row])).logits.softmax(-1)[0]
    with torch.no_grad():
        plain = torch.stack([softmax(row) for row in some])
    predicted = plain.argmax(-1)
    drops = lambda which: torch.stack(
        [plain[i, predicted[i]] - softmax(marked[i])[predicted[i]] for i in which]
    )
    losses = []
    for _ in range(2):
        for start in range(0, len(some), size):
            drop = drops(range(len(some))[start : start + size])
            loss = (
                bounds['weight'] * torch.relu(bounds['low'] - drop).mean()
                + torch.relu(drop - bounds['up']).mean()
            )
            net.zero_grad()
            loss.backward()
            with torch.no_grad():
                table[word] -= rate * table.grad[word]
                table[word] *= norm / table[word].norm()
            losses.append(loss.item())
    with torch.no_grad():
        return {
            'word': word,
            'rows': marked,
            **bounds,
            'rate': rate,
            'batch': size,
            'epochs': 2,
            'predicted': predicted.tolist(),
            'probabilities': plain.max(-1).values.tolist(),
            'losses': losses,
            'embedding': table[word].tolist(),
            'drops': drops(range(len(some))).tolist(),
        }


with open(os.path.join(HERE, 'defence-models.json'), 'w') as file:
    cases = [
        crow(kind)
        for kind in (
            'full',
            'lora',
            'llama-classifier',
            'gpt2-classifier',
            'deberta-v3-classifier',
            'modernbert-classifier-cls',
        )
    ]
    word = rap()
    with torch.no_grad():
        json.dump(
            {
                'rap': word,
                'crow': cases,
                'pooled': pooled(),
                'norms': norms(),
                'perplexity': [perplexities(name) for name in ('llama-causal', 'gpt2-causal')],
            },
            file,
        )
    file.write('\n')
