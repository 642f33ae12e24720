"""Makes test/golden/spectra.json: Fisher spectra and what is made of them, eigenvalues, singular
values, effective rank and intruder dimensions by NumPy in double precision, on random matrices and
on hard ones.

    python test/golden/spectra.py      (numpy)

Fisher information is summed over gradients in parameter space, F = E_x E_y g gᵀ (P, P): not by the
route through K.
"""

import json
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
draw = lambda *shape: np.round(rng.standard_normal(shape), 6)


def summary(spectrum, size, tolerance):
    """`size`: how many eigenvalues the route through K has; beyond P all are zero."""
    spectrum = np.append(np.sort(spectrum)[::-1], np.zeros(size))[:size]
    counted = spectrum[spectrum > tolerance * spectrum[0]]
    shares = counted / counted.sum()
    entropies = lambda values: {
        **{str(a): float(np.log((values**a).sum()) / (1 - a)) for a in (0.5, 2, 3)},
        'inf': float(-np.log(values.max())),
    }
    return {
        'spectrum': spectrum.tolist(),
        'count': len(counted),
        'information_bits': float(np.log(counted).sum() / 2),
        'information_bits_normalised': float(np.log(shares).sum() / 2),
        'renyi': {
            'raw': entropies(counted),
            'normalised': {**entropies(shares), '1': float(-(shares * np.log(shares)).sum())},
        },
    }


def fisher(name, J, logits, labels, tolerance=1e-6):
    """J: (N, C, P), logits: (N, C)."""
    N, C, P = J.shape
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    true, empirical = np.zeros((P, P)), np.zeros((P, P))
    for i in range(N):
        for y in range(C):
            g = (np.eye(C)[y] - p[i]) @ J[i]  # ∇ log p(y | x)
            true += p[i, y] * np.outer(g, g) / N
            if y == labels[i]:
                empirical += np.outer(g, g) / N
    return {
        'name': name,
        'rows': N,
        'classes': C,
        'parameters': P,
        'jacobian': J.ravel().tolist(),
        'logits': logits.ravel().tolist(),
        'labels': labels,
        'tolerance': tolerance,
        'true': summary(np.linalg.eigvalsh(true), N * C, tolerance),
        'empirical': summary(np.linalg.eigvalsh(empirical), N, tolerance),
    }


J = draw(5, 3, 23)
twice = draw(5, 3, 23)
twice[3] = twice[1]  # one row given twice
low = np.einsum('nck,kp->ncp', draw(7, 2, 3), draw(3, 19))
fishers = [
    fisher('more parameters than logits', J, draw(5, 3), [0, 2, 1, 1, 0]),
    fisher('rank 3 by its gradients', low, draw(7, 2), [1, 0, 0, 1, 1, 0, 1]),
    fisher(
        'fewer parameters than rows', draw(11, 2, 5), draw(11, 2), [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1]
    ),
    fisher(
        'a row given twice', twice, np.stack([*(z := draw(5, 3))[:3], z[1], z[4]]), [0, 1, 2, 1, 2]
    ),
    fisher(
        'confident: p(1 − p) from .2 to 1e-6',
        draw(5, 2, 13),
        np.array([[0, 1], [0, 3], [9, 0], [0, 12], [13.8, 0]]),
        [1, 1, 0, 0, 0],
        1e-9,
    ),
    fisher('tiny gradients', 1e-9 * draw(5, 3, 17), draw(5, 3), [0, 0, 1, 2, 2]),
]

# ---- symmetric matrices --------------------------------------------------------------------------
hilbert = lambda m, n: [[1 / (i + j + 1) for j in range(n)] for i in range(m)]
wilkinson = (
    np.diag(np.abs(np.arange(-10, 11)).astype(float))
    + np.diag(np.ones(20), 1)
    + np.diag(np.ones(20), -1)
)
graded = np.diag(10.0 ** -np.arange(13)) + 1e-14 * (lambda G: G + G.T)(draw(13, 13))
B = draw(17, 5)
symmetric = {
    'Hilbert, condition 1e16': np.array(hilbert(12, 12)),
    'Wilkinson, pairs alike to 1e-13': wilkinson,
    'graded over 12 orders': graded,
    'rank 5 of 17': B @ B.T,
    'indefinite': (lambda G: G + G.T)(draw(11, 11)),
    'all one value': 3 * np.eye(7),
    'zero': np.zeros((5, 5)),
    'large': 1e120 * (B @ B.T)[:7, :7],
    'small': 1e-120 * (B @ B.T)[:7, :7],
}

# ---- rectangles ----------------------------------------------------------------------------------
c, s = math.cos(1.2), math.sin(1.2)
kahan = np.array(
    [[0 if j < i else (s**i if j == i else -c * s**i) for j in range(13)] for i in range(13)]
)
rectangles = {
    'Hilbert, tall': np.array(hilbert(11, 7)),
    'Hilbert, wide': np.array(hilbert(7, 11)),
    'Kahan': kahan,
    'rank 3, tall': draw(13, 3) @ draw(3, 7),
    'rank 3, wide': draw(7, 3) @ draw(3, 13),
    'columns graded over 12 orders': draw(11, 7) * 10.0 ** -(2 * np.arange(7)),
    'one row': draw(1, 7),
    'one column': draw(7, 1),
    'zero': np.zeros((5, 3)),
    'repeated values': 2 * np.linalg.qr(draw(11, 11))[0],
    'small': 1e-120 * draw(7, 5),
    'large': 1e120 * draw(5, 7),
}

# ---- what training did to a weight ---------------------------------------------------------------
ENERGY, VECTORS, COSINE = 0.9, 10, 0.5


def change(name, W0, dW):
    values = np.linalg.svd(dW, compute_uv=False)
    U0, U = (
        np.linalg.svd(W0, full_matrices=False)[0],
        np.linalg.svd(W0 + dW, full_matrices=False)[0],
    )
    cosines = np.abs(U[:, :VECTORS].T @ U0).max(1)
    squares = values**2
    rank = next(
        k + 1
        for k in range(len(values))
        if squares[: k + 1].sum() >= ENERGY * squares.sum() * (1 - 1e-12)
    )
    return {
        'name': name,
        'shape': W0.shape,
        'initial': W0.ravel().tolist(),
        'change': dW.ravel().tolist(),
        'singular_values': values.tolist(),
        'cosines': cosines.tolist(),
        'effective_rank': rank,
        'stable_rank': float(squares.sum() / squares[0]),
        'intruder_dimensions': int((cosines < COSINE).sum()),
    }


W = draw(19, 13)
U0, S0, Vt0 = np.linalg.svd(W, full_matrices=False)
outside = (lambda v: v / np.linalg.norm(v))(
    (np.eye(19) - U0 @ U0.T) @ draw(19)
)  # a left vector that W has nothing of
changes = [
    change('random, tall', W, 0.5 * draw(19, 13)),
    change('random, wide', draw(13, 19), 0.5 * draw(13, 19)),
    change('random, square', draw(17, 17), 0.7 * draw(17, 17)),
    change('a planted intruder', W, 5 * S0[0] * np.outer(outside, Vt0[3])),
    change('its own first direction, stronger', W, 2 * S0[0] * np.outer(U0[:, 0], Vt0[0])),
    change('rank 3', draw(11, 23), draw(11, 3) @ draw(3, 23)),
]

with open(os.path.join(HERE, 'spectra.json'), 'w') as file:
    json.dump(
        {
            'numpy': np.__version__,
            'fisher': fishers,
            'symmetric': [
                {
                    'name': name,
                    'size': len(M),
                    'matrix': M.ravel().tolist(),
                    'eigenvalues': np.linalg.eigvalsh(M)[::-1].tolist(),
                }
                for name, M in symmetric.items()
            ],
            'rectangles': [
                {
                    'name': name,
                    'shape': M.shape,
                    'matrix': M.ravel().tolist(),
                    'values': np.linalg.svd(M, compute_uv=False).tolist(),
                }
                for name, M in rectangles.items()
            ],
            'changes': {'energy': ENERGY, 'vectors': VECTORS, 'cosine': COSINE, 'cases': changes},
        },
        file,
    )
    file.write('\n')
