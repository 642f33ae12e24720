"""Makes test/golden/ntk-mlp/reference.json: kernels of a small network as google/neural-tangents
computes them in double precision.

    python test/golden/ntk_mlp.py      (neural-tangents 0.6.5, jax and jaxlib 0.4.30, numpy < 2)

The network is `token-mlp` of test/science/measures/ntk/fixture, its weights a formula (`wave`).
neural_tangents.empirical_ntk_fn by Jacobian contraction and by NTK-vector products (its third
implementation, structured derivatives, fails on this JAX); they must agree before anything is
written.
"""

import json
import math
import os

import jax
import jax.numpy as np

jax.config.update('jax_enable_x64', True)
import neural_tangents as nt

CLASSES, RANK, SCALE = 3, 2, 1.5
LAYERS = {'first': (5, 7), 'mix': (7, 7), 'pool': (7, 11)}


def wave(rows, columns, scale, phase):
    # float32 values, so that both sides hold the same.
    import numpy

    return numpy.array(
        [
            [scale * math.sin(phase + 0.37 * (i + 1) * (j + 2)) for j in range(columns)]
            for i in range(rows)
        ],
        dtype=numpy.float32,
    ).astype(numpy.float64)


weights = {'embedding': wave(13, 5, 1.0, 0), 'head': wave(CLASSES, 11, 0.5, 1)}
for k, (name, (n, m)) in enumerate(LAYERS.items()):
    weights[f'{name}.W'] = wave(m, n, 0.5, 2 + k)
    weights[f'{name}.A'] = wave(RANK, n, 0.5, 5 + k)
    weights[f'{name}.B'] = wave(m, RANK, 0.5, 8 + k)

ROWS = [[1, 7, 3], [12, 0, 5], [4, 4, 9], [2, 11, 6], [8, 10, 1]]


def f(params, ids):
    """ids: (N, T) → logits (N, C)."""
    p = {**weights, **params}

    def linear(layer, x):
        return x @ p[f'{layer}.W'].T + SCALE * (x @ p[f'{layer}.A'].T) @ p[f'{layer}.B'].T

    x = np.tanh(linear('first', np.asarray(p['embedding'])[ids]))  # (N, T, 7)
    x = x + x.mean(1, keepdims=True)
    x = np.tanh(linear('mix', x))
    return np.tanh(linear('pool', x.mean(1))) @ p['head'].T


def kernel(names):
    params = {name: np.asarray(weights[name]) for name in names}
    found = []
    for implementation in (
        nt.NtkImplementation.JACOBIAN_CONTRACTION,
        nt.NtkImplementation.NTK_VECTOR_PRODUCTS,
    ):
        fn = nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=implementation)
        found.append(fn(np.asarray(ROWS), None, params))  # (N, N, C, C)
    for other in found[1:]:
        assert float(abs(other - found[0]).max()) < 1e-10, 'the implementations differ'
    return np.transpose(found[0], (0, 2, 1, 3)).ravel().tolist()  # (N, C, N, C)


full, lora = (
    [f'{name}.W' for name in LAYERS],
    [f'{name}.{factor}' for name in LAYERS for factor in 'AB'],
)
reference = {
    'classes': CLASSES,
    'rank': RANK,
    'scale': SCALE,
    'rows': ROWS,
    'neural_tangents': nt.__version__,
    'jax': jax.__version__,
    'weights': {name: value.tolist() for name, value in weights.items()},
    'full': kernel(full),
    'lora': kernel(lora),
}
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'ntk-mlp')
os.makedirs(folder, exist_ok=True)
with open(os.path.join(folder, 'reference.json'), 'w') as file:
    json.dump(reference, file)
    file.write('\n')
