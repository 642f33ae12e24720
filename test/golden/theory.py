"""Makes test/golden/theory.json: what the tiny model's weights and its linearised prediction are by
NumPy and PyTorch, in double precision.

    python test/golden/theory.py      (torch, transformers, peft, numpy)

Directions and changes are a formula of the parameter's name and place, so that none need be kept.
Needs tiny-bert.
"""

import json
import math
import os

import numpy as np
import torch
from peft import PeftModel
from torch.func import functional_call, jvp
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, 'tiny-bert')
torch.set_num_threads(1)


def wave(name, shape, scale):
    """scale · sin(Σ of the name's bytes + 0.37 k), k the place in C order; in float32, as the tests
    make it.
    """
    phase = sum(name.encode())
    count = math.prod(shape)
    return (
        np.array([scale * math.sin(phase + 0.37 * (k + 1)) for k in range(count)], dtype=np.float32)
        .astype(np.float64)
        .reshape(shape)
    )


def short(name):
    return name.replace('base_model.model.', '').replace('bert.', '', 1)


def base():
    return (
        BertForSequenceClassification.from_pretrained(os.path.join(TINY, 'checkpoint'))
        .double()
        .eval()
    )


def adapted():
    return PeftModel.from_pretrained(base(), os.path.join(TINY, 'adapter')).double().eval()


def linears(model):
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and 'classifier' not in name
    ]


def effective_rank(values, energy):
    squares = values**2
    return int(np.argmax(np.cumsum(squares) >= energy * squares.sum() * (1 - 1e-12))) + 1


def spectrum(W0, change):
    values = np.linalg.svd(change, compute_uv=False)
    U0, U = (
        np.linalg.svd(W0, full_matrices=False)[0],
        np.linalg.svd(W0 + change, full_matrices=False)[0],
    )
    cosines = np.abs(U[:, :10].T @ U0).max(1)
    return {
        'singular_values': values.tolist(),
        'change': float(np.linalg.norm(change)),
        'relative_change': float(np.linalg.norm(change) / np.linalg.norm(W0)),
        'effective_rank': effective_rank(values, 0.9),
        'stable_rank': float((values**2).sum() / values[0] ** 2),
        'cosines': cosines.tolist(),
        'intruder_dimensions': int((cosines < 0.5).sum()),
    }


# ---- spectra: LoRA's change of the golden adapter, and a full change by formula ------------------
model, lora = base(), adapted()
weights = {
    short(name): model.get_submodule(name).weight.detach().numpy() for name in linears(model)
}
scale = {}
factors = {}
for name in weights:
    module = lora.base_model.model.get_submodule('bert.' + name)
    factors[name] = (
        module.lora_A['default'].weight.detach().numpy(),
        module.lora_B['default'].weight.detach().numpy(),
    )
    scale[name] = module.scaling['default']
by_lora = {name: scale[name] * B @ A for name, (A, B) in factors.items()}
by_full = {name: wave(name, W.shape, 0.1) for name, W in weights.items()}
result = {
    'spectrum': {
        'lora': {name: spectrum(weights[name], change) for name, change in by_lora.items()},
        # A wave in C order has rank 2: a change along few directions makes intruders.
        'full': {name: spectrum(weights[name], change) for name, change in by_full.items()},
    }
}

# ---- divergence: the golden adapter (clean) against one whose factors are moved by formula -------
layers, squares, clean, largest = {}, 0, 0, 0
for name, (A, B) in factors.items():
    moved = (
        scale[name]
        * (B + wave(name + '.lora_B', B.shape, 0.03))
        @ (A + wave(name + '.lora_A', A.shape, 0.05))
    )
    difference = by_lora[name] - moved
    norm = np.linalg.norm(by_lora[name])
    layers[name] = {
        'largest': float(np.abs(difference).max()),
        'l2': float(np.linalg.norm(difference)),
        'clean_change': float(norm),
        'relative': float(np.linalg.norm(difference) / norm),
    }
    squares += (difference**2).sum()
    clean += norm**2
    largest = max(largest, float(np.abs(difference).max()))
result['divergence'] = {
    'layers': layers,
    'total': {
        'largest': largest,
        'l2': math.sqrt(squares),
        'clean_change': math.sqrt(clean),
        'relative': math.sqrt(squares / clean),
    },
}


# ---- J·v by forward mode -------------------------------------------------------------------------
with open(os.path.join(TINY, 'forward.json')) as file:
    rows = json.load(file)['rows'][:5]


def name_of(parameter):
    name = short(parameter)
    return (
        name.replace('.lora_A.default.weight', '.lora_A')
        .replace('.lora_B.default.weight', '.lora_B')
        .replace('modules_to_save.default.', '')
        .replace('.base_layer', '')
    )


def linear(model, trained):
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    directions = {
        name: torch.tensor(wave(name_of(name), tuple(value.shape), 0.02))
        for name, value in parameters.items()
        if trained(name)
    }
    start, change = [], []
    for row in rows:
        ids, types = torch.tensor([row['ids']]), torch.tensor([row['typeIds']])

        def f(some):
            return functional_call(
                model,
                {**parameters, **some},
                kwargs={
                    'input_ids': ids,
                    'token_type_ids': types,
                    'attention_mask': torch.ones_like(ids),
                },
            ).logits[0]

        value, tangent = jvp(f, ({name: parameters[name] for name in directions},), (directions,))
        start.append(value.tolist())
        change.append(tangent.tolist())
    return {
        'parameters': sorted(name_of(name) for name in directions),
        'start': start,
        'change': change,
    }


torch.backends.cuda.enable_mem_efficient_sdp(False)
for m in (model, lora):
    m.config._attn_implementation = 'eager'
result['linear'] = {
    'lora': linear(lora, lambda name: '.lora_' in name or 'classifier.modules_to_save' in name),
    'full': linear(model, lambda name: True),
}
with open(os.path.join(HERE, 'theory.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
