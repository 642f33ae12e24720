"""Makes test/golden/ntk-*: kernels and Fisher spectra as PyTorch and NumPy compute them in double
precision, one example at a time by torch.func.jacrev; plain autograd, one class at a time, must
agree before anything is written.

    python test/golden/ntk.py [FOLDER OF all-MiniLM-L6-v2]      (torch, transformers, peft, numpy)

Without the folder only the tiny models' are made. Needs test/golden/tiny-bert and tiny-mlm
(tiny_bert.py, tiny_mlm.py).
"""

import json
import math
import os
import sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.func import functional_call, jacrev
from transformers import AutoTokenizer, BertForMaskedLM, BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, 'tiny-bert')
torch.set_num_threads(1)
TOLERANCE = 1e-6


def linears(model):
    """Names of the linear layers that adapters target, in forward order: all but a head of the
    task's own and a tied decoder.
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and 'classifier' not in name
        and 'decoder' not in name
    ]


def short(name):
    return name.replace('base_model.model.', '').replace('bert.', '', 1)


def logits(model, parameters, row, read):
    ids = torch.tensor([row['ids']])
    inputs = {
        'input_ids': ids,
        'token_type_ids': torch.tensor([row['typeIds']]),
        'attention_mask': torch.ones_like(ids),
    }
    return read(functional_call(model, parameters, (), inputs).logits[0], row)


def kernel(model, rows, names, read):
    """K over the parameters `names`, pairs of (layer, parameter's name), and the trace of each
    layer's block.
    """
    held = dict(model.named_parameters())
    parameters = {name: held[name].detach() for _, name in names}
    jacobian = {}  # layer → gradients, (i, c) after (i, c)
    values = []
    for row in rows:
        f = logits(model, parameters, row, read)
        values.append(f.detach().numpy())
        J = jacrev(lambda some: logits(model, some, row, read))(parameters)
        leaves = {name: value.clone().requires_grad_(True) for name, value in parameters.items()}
        out = logits(model, leaves, row, read)
        for c in range(len(f)):
            gradients = torch.autograd.grad(out[c], list(leaves.values()), retain_graph=True)
            for name, gradient in zip(leaves, gradients):
                assert (J[name][c] - gradient).abs().max() <= 1e-12 * gradient.abs().max(), name
        for layer in dict.fromkeys(layer for layer, _ in names):
            jacobian.setdefault(layer, []).append(
                torch.cat([J[name].flatten(1) for own, name in names if own == layer], 1)
            )
    total, traces = 0, {}
    for layer, gradients in jacobian.items():
        J = torch.cat(gradients).detach()  # (N·C, P)
        block = J @ J.T
        traces[layer] = block.trace().item()
        total = total + block
    N, classes = np.array(values).shape
    return total.numpy().reshape(N, classes, N, classes), np.array(values), traces


def summary(spectrum):
    spectrum = np.sort(spectrum)[::-1]
    counted = spectrum[spectrum > TOLERANCE * spectrum[0]]
    shares = counted / counted.sum()

    def entropies(values, raw):
        out = {str(a): float(np.log((values**a).sum()) / (1 - a)) for a in (0.5, 2, 3)}
        out['inf'] = float(-np.log(values.max()))
        if not raw:
            out['1'] = float(-(values * np.log(values)).sum())
        return out

    return {
        'spectrum': spectrum.tolist(),
        'count': len(counted),
        'tolerance': TOLERANCE,
        'information_bits': float(np.log(counted).sum() / 2),
        'information_bits_normalised': float(np.log(shares).sum() / 2),
        'renyi': {'raw': entropies(counted, True), 'normalised': entropies(shares, False)},
    }


def fisher(K, f, labels):
    N, C = f.shape
    p = np.exp(f - f.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    flat = K.reshape(N * C, N * C)
    roots = np.zeros((N * C, N * C))
    residuals = np.zeros((N * C, N))
    for i in range(N):
        values, vectors = np.linalg.eigh(np.diag(p[i]) - np.outer(p[i], p[i]))
        roots[i * C : (i + 1) * C, i * C : (i + 1) * C] = (
            vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
        )
        residuals[i * C : (i + 1) * C, i] = p[i] - np.eye(C)[labels[i]]
    return {
        'true': summary(np.linalg.eigvalsh(roots.T @ flat @ roots / N)),
        'empirical': summary(np.linalg.eigvalsh(residuals.T @ flat @ residuals / N)),
    }


def write(name, rows, kernels):
    """kernels: 'lora' and 'full' → (K, logits, traces)."""
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    labels = [row['label'] for row in rows]
    reference = {
        'rows': rows,
        'logits': next(iter(kernels.values()))[1].tolist(),
        'traces': {},
        'fisher': {},
    }
    for kind, (K, f, traces) in kernels.items():
        np.save(os.path.join(folder, f'kernel-{kind}.npy'), K)
        reference['traces'][kind] = traces
        reference['fisher'][kind] = fisher(K, f, labels)
    with open(os.path.join(folder, 'reference.json'), 'w') as file:
        json.dump(reference, file, indent=1)
        file.write('\n')


def both(adapted, rows, read=lambda f, row: f):
    """Over the factors, then over the same layers' weights at the effective W: PEFT merges it."""
    factors = [
        (short(name.split('.lora_')[0]), name)
        for name, _ in adapted.named_parameters()
        if '.lora_A.' in name or '.lora_B.' in name
    ]
    lora = kernel(adapted, rows, factors, read)
    merged = adapted.merge_and_unload().double().eval()
    full = kernel(merged, rows, weights(merged), read)
    assert np.abs(full[1] - lora[1]).max() < 1e-12
    return {'lora': lora, 'full': full}


def weights(model):
    return [(short(name), name + '.weight') for name in linears(model)]


# ---- the tiny model: 11 rows of 3 to 29 tokens, pairs among them, 3 classes ----------------------
with open(os.path.join(TINY, 'forward.json')) as file:
    tiny_rows = json.load(file)['rows'][:11]
assert len({len(row['ids']) for row in tiny_rows}) > 4 and any(
    1 in row['typeIds'] for row in tiny_rows
)
tiny = lambda: (
    BertForSequenceClassification.from_pretrained(os.path.join(TINY, 'checkpoint')).double().eval()
)
write(
    'ntk-tiny-lora',
    tiny_rows,
    both(
        PeftModel.from_pretrained(tiny(), os.path.join(TINY, 'adapter')).double().eval(), tiny_rows
    ),
)
model = tiny()
write(
    'ntk-tiny-full', tiny_rows, {'full': kernel(model, tiny_rows, weights(model), lambda f, row: f)}
)


# ---- a cloze prompt: the logits of the verbalizer's words at the mask, 15 rows of 7 to 16 tokens -
MLM = os.path.join(HERE, 'tiny-mlm')
with open(os.path.join(MLM, 'golden.json')) as file:
    cloze = json.load(file)
mlm_rows = [
    {
        'ids': row['ids'],
        'typeIds': [0] * len(row['ids']),
        'label': row['label'],
        'mask': row['mask'],
    }
    for row in cloze['rows']
]
masked = BertForMaskedLM.from_pretrained(os.path.join(MLM, 'checkpoint')).double().eval()
write(
    'ntk-tiny-mlm',
    mlm_rows,
    both(
        PeftModel.from_pretrained(masked, os.path.join(MLM, 'adapter')).double().eval(),
        mlm_rows,
        lambda f, row: f[row['mask']][cloze['tokens']],
    ),
)


# ---- MiniLM: the factors and the head are a formula, so that no adapter need be kept -------------
def wave(rows, columns, scale, phase):
    return torch.tensor(
        [
            [scale * math.sin(phase + 0.37 * (i + 1) * (j + 2)) for j in range(columns)]
            for i in range(rows)
        ],
        dtype=torch.float32,
    ).double()


def minilm(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [
        ('a gripping, funny film', None, 1),
        ('dull', None, 0),
        (
            'it never finds its feet and goes on for far too long, scene after scene after scene',
            None,
            0,
        ),
        ('Is the meeting moved to Tuesday?', 'The meeting was moved from Monday to Tuesday.', 1),
        ('Who won?', 'The weather stayed fine all week in the north.', 0),
        ('one of the best performances of the year', None, 1),
        ('FREE money!!! click <b>now</b>', 'http://a.b/c?d=e', 0),
    ]
    rows = []
    for first, second, label in texts:
        encoded = tokenizer(first, second)
        rows.append(
            {'ids': encoded['input_ids'], 'typeIds': encoded['token_type_ids'], 'label': label}
        )
    base = BertForSequenceClassification.from_pretrained(folder, num_labels=2).double().eval()
    RANK, ALPHA = 3, 6
    names = linears(base)
    with torch.no_grad():
        base.classifier.weight.copy_(wave(2, base.config.hidden_size, 0.05, 1))
        base.classifier.bias.copy_(torch.tensor([0.1, -0.1]))
    adapted = (
        get_peft_model(
            base, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names, lora_dropout=0.0)
        )
        .double()
        .eval()
    )
    with torch.no_grad():
        for index, name in enumerate(names):
            layer = adapted.base_model.model.get_submodule(name)
            layer.lora_A['default'].weight.copy_(wave(RANK, layer.in_features, 0.05, index))
            layer.lora_B['default'].weight.copy_(wave(layer.out_features, RANK, 0.02, index + 0.5))
    write('ntk-minilm', rows, both(adapted, rows))


if len(sys.argv) > 1:
    minilm(sys.argv[1])
