"""Makes test/golden/fused.json: values and gradients of what our fused operations compute, by
PyTorch in double precision.

    python test/golden/fused.py      (torch)

Each case has inputs, the gradient of a loss with respect to the value, the value, and the gradients
of the inputs. An attention is over rows of unlike length that follow one another; PyTorch takes
each row alone, with a mask of its own.
"""

import json
import os

import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
generator = torch.Generator().manual_seed(53)


def normal(*shape, scale=1.0):
    """Numbers with four decimals, to keep the file small; float32 rounds them when they are read."""
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
    return drawn.mul(1e4).round().div(1e4).float().double()


def flat(tensor):
    return {'shape': list(tensor.shape), 'values': tensor.detach().flatten().tolist()}


def case(inputs, of):
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = of(*leaves)
    dy = normal(*y.shape)
    y.backward(dy)
    return {
        'inputs': [flat(x) for x in inputs],
        'dy': flat(dy),
        'value': flat(y),
        'gradients': [flat(x.grad) for x in leaves],
    }


def attention(heads, kv_heads, width, keys, reads, causal, window):
    """`reads`: for each row, the positions of its queries; None for all tokens."""
    places = [list(range(n)) if own is None else own for n, own in zip(keys, reads)]

    def of(q, k, v):
        out, first_query, first_key = [], 0, 0
        for n, own in zip(keys, places):
            rows = lambda x, first, count, h: (
                x[first : first + count].reshape(count, h, width).transpose(0, 1)
            )
            one_q = rows(q, first_query, len(own), heads)
            one_k, one_v = (
                rows(x, first_key, n, kv_heads).repeat_interleave(heads // kv_heads, 0)
                for x in (k, v)
            )
            at, key = torch.tensor(own)[:, None], torch.arange(n)[None, :]
            seen = torch.ones(len(own), n, dtype=torch.bool)
            if causal:
                seen &= key <= at
            if window is not None:
                seen &= (at - key).abs() < window
            mixed = F.scaled_dot_product_attention(one_q, one_k, one_v, attn_mask=seen)
            out.append(mixed.transpose(0, 1).reshape(len(own), heads * width))
            first_query += len(own)
            first_key += n
        return torch.cat(out)

    inputs = [
        normal(sum(map(len, places)), heads * width),
        normal(sum(keys), kv_heads * width),
        normal(sum(keys), kv_heads * width),
    ]
    return {
        'heads': heads,
        'kvHeads': kv_heads,
        'width': width,
        'keys': keys,
        'places': places,
        'causal': causal,
        'window': window,
        **case(inputs, of),
    }


def rotary(tokens, heads, width, half, factor=1.0):
    """Pairs of features as complex numbers, turned by multiplying them with numbers of that angle."""
    angles = normal(tokens, 1, half, scale=3.0)
    cos, sin = ((f(angles) * factor).float().double() for f in (torch.cos, torch.sin))

    def of(x):
        first, second, rest = x.reshape(tokens, heads, width).split([half, half, width - 2 * half], 2)
        turned = torch.complex(first, second) * torch.complex(cos, sin)
        return torch.cat([turned.real, turned.imag, rest], 2).reshape(tokens, heads * width)

    return {
        'heads': heads,
        'cos': flat(cos),
        'sin': flat(sin),
        **case([normal(tokens, heads * width)], of),
    }


def adamw():
    """Three updates of torch.optim.AdamW with gradients that are given."""
    start, gradients = normal(5, 7), [normal(5, 7, scale=scale) for scale in (1.0, 1e-3, 10.0)]
    p = start.clone().requires_grad_()
    settings = {'lr': 0.01, 'betas': [0.9, 0.999], 'eps': 1e-8, 'weight_decay': 0.1}
    optimizer = torch.optim.AdamW([p], **settings)
    after = []
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
        after.append(flat(p))
    return {
        **settings,
        'start': flat(start),
        'gradients': [flat(g) for g in gradients],
        'after': after,
    }


def cross_entropy(batch, classes, scale, weights=None):
    """The mean loss of classes, with their weights if there are any."""
    labels = [(7 * row + 2) % classes for row in range(batch)]
    of = case(
        [normal(batch, classes, scale=scale)],
        lambda logits: F.cross_entropy(
            logits,
            torch.tensor(labels),
            None if weights is None else torch.tensor(weights, dtype=torch.float64),
        ),
    )
    return {'labels': labels, 'weights': weights, **of}


ACTIVATIONS = {
    'gelu': F.gelu,
    'gelu_new': lambda u: F.gelu(u, approximate='tanh'),
    'silu': F.silu,
}

golden = {
    'torch': torch.__version__,
    # Both tails, where Φ(u) is far below float32's spacing at 1, and zero.
    'gelu': case(
        [
            torch.cat(
                [
                    normal(37, scale=2.0),
                    torch.tensor([0.0, 1e-6, -5.5, 6.5, -13.0, 20.0]).float().double(),
                ]
            )
        ],
        F.gelu,
    ),
    'norm': case(
        [normal(5, 21, scale=3.0), normal(21), normal(21)],
        lambda x, g, b: F.layer_norm(x, (21,), g, b, 1e-12),
    ),
    'addNorm': case(
        [normal(6, 19), normal(6, 19), normal(19), normal(19)],
        lambda x, r, g, b: F.layer_norm(x + r, (19,), g, b, 1e-5),
    ),
    'attention': [
        attention(2, 2, 5, [3, 1, 9], [None, None, None], False, None),
        attention(4, 2, 3, [6, 2], [None, None], True, None),
        attention(2, 1, 20, [18, 5], [[0], [0]], False, None),
        attention(1, 1, 4, [21, 7], [None, [2, 5]], True, 4),
        attention(2, 2, 4, [11, 4], [None, None], False, 3),
    ],
    'adamw': adamw(),
    # Two classes, a vocabulary, and logits so far apart that probabilities are 0 in float32.
    'crossEntropy': [
        cross_entropy(5, 2, 3.0),
        cross_entropy(4, 3, 2.0, [1.0, 2.0, 0.5]),
        cross_entropy(3, 67, 1.0),
        cross_entropy(3, 16, 80.0),
    ],
    # A layer norm without a shift, as ModernBERT has it, and RMS norms: Llama's, and Gemma's with a
    # scale of 1 + w; the last of each with a residual. The mean is far from 0.
    'scaleNorm': [
        case(
            [normal(5, 21, scale=3.0) + 2.0, normal(21)],
            lambda x, g: F.layer_norm(x, (21,), g, None, 1e-5),
        ),
        case(
            [normal(4, 19) - 3.0, normal(4, 19), normal(19)],
            lambda x, r, g: F.layer_norm(x + r, (19,), g, None, 1e-5),
        ),
    ],
    'rmsNorm': [
        case(
            [normal(5, 21, scale=3.0) + 2.0, normal(21)],
            lambda x, g: F.rms_norm(x, (21,), g, 1e-6),
        ),
        case(
            [normal(4, 19) - 3.0, normal(4, 19), normal(19)],
            lambda x, r, g: F.rms_norm(x + r, (19,), g, 1e-6),
        ),
    ],
    'offsetRmsNorm': [
        case(
            [normal(5, 21, scale=3.0) + 2.0, normal(21)],
            lambda x, g: F.rms_norm(x, (21,), None, 1e-6) * (1.0 + g),
        ),
        case(
            [normal(4, 19) - 3.0, normal(4, 19), normal(19)],
            lambda x, r, g: F.rms_norm(x + r, (19,), None, 1e-6) * (1.0 + g),
        ),
    ],
    # All features of a head, some of them, and angles whose cosine and sine are scaled.
    'rotary': [rotary(5, 2, 6, 3), rotary(3, 3, 39, 17), rotary(4, 1, 34, 17, 1.3)],
    'geluTanh': case([normal(37, scale=3.0)], ACTIVATIONS['gelu_new']),
    'silu': case([normal(37, scale=5.0)], F.silu),
    'gated': {
        name: case([normal(4, 19, scale=2.0), normal(4, 19)], lambda g, u: act(g) * u)
        for name, act in ACTIVATIONS.items()
    },
    # The gate and what it multiplies are the halves of each row.
    'halves': {
        name: case([normal(4, 38, scale=2.0)], lambda both: act(both[:, :19]) * both[:, 19:])
        for name, act in ACTIVATIONS.items()
    },
}

with open(os.path.join(HERE, 'fused.json'), 'w') as file:
    json.dump(golden, file)
    file.write('\n')
