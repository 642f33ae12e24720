"""Makes test/golden/products.json: values and gradients of products, linear layers and LoRA layers,
by PyTorch in double precision.

    python test/golden/products.py      (torch)

Each case has inputs, the gradient of a loss with respect to the value, the value, and the gradients
of the inputs. A LoRA layer is x Wᵀ + s (x Aᵀ) Bᵀ + b, with and without b.
"""

import json
import os

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
generator = torch.Generator().manual_seed(61)


def normal(*shape):
    """Numbers with four decimals, to keep the file small."""
    drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return drawn.mul(1e4).round().div(1e4)


def flat(tensor, digits=11):
    values = [float(f'%.{digits}g' % value) for value in tensor.detach().flatten().tolist()]
    return {'shape': list(tensor.shape), 'values': values}


def case(inputs, of):
    """The inputs are read as float32, so these are what PyTorch takes too."""
    leaves = [x.float().double().requires_grad_() for x in inputs]
    y = of(*leaves)
    dy = normal(*y.shape)
    y.backward(dy.float().double())
    return {
        'inputs': [flat(x) for x in inputs],
        'dy': flat(dy),
        'value': flat(y),
        'gradients': [flat(x.grad) for x in leaves],
    }


def product(transpose_a, transpose_b, rows, depth, width):
    a, b = normal(rows, depth), normal(depth, width)
    return {
        'transposeA': transpose_a,
        'transposeB': transpose_b,
        **case(
            [a.T if transpose_a else a, b.T if transpose_b else b],
            lambda a, b: (a.T if transpose_a else a) @ (b.T if transpose_b else b),
        ),
    }


def lora(rank, biased, rows, n, m, scale=1.5):
    def of(x, w, a, b, bias=0):
        return x @ w.T + scale * (x @ a.T) @ b.T + bias

    factors = [normal(rows, n), normal(m, n), normal(rank, n), normal(m, rank)]
    return {'scale': scale, **case([*factors, normal(m)] if biased else factors, of)}


golden = {
    'torch': torch.__version__,
    'products': [
        product(transpose_a, transpose_b, 15, 3, 17)
        for transpose_a in (False, True)
        for transpose_b in (False, True)
    ]
    + [product(False, True, 1, 385, 2), product(True, False, 2, 385, 1)],
    'linear': case([normal(14, 5), normal(18, 5), normal(18)], lambda x, w, b: x @ w.T + b),
    'lora': [lora(rank, biased, 3, 7, 5) for rank in (1, 3, 8, 16, 20) for biased in (False, True)],
}

with open(os.path.join(HERE, 'products.json'), 'w') as file:
    json.dump(golden, file)
    file.write('\n')
