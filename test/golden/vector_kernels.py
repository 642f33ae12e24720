"""Makes test/golden/vector-kernels.json: the kernels of the checkpoints of test/golden/families
over vectors alone.

    python test/golden/vector_kernels.py      (after families.py; torch, peft; CPU)

NAME → {bias, norms}, or null where a model has no such parameter below its head:

  bias    J Jᵀ over every bias, those of norms and of a masked-LM decoder among them (BitFit)
  norms   J Jᵀ over the scales and biases of the norms

both in double precision at the checkpoint as it is, over the first rows of the case's golden.json
as families.py has them, by plain autograd, a row and an output at a time. The modules that a
classifier adds are left out, as PEFT saves them whole.
"""

import json
import os

from families import HERE, Double, kernel, make_rows, opened, save_json
from families_cases import CASES


def below_head(name):
    return not name.split('.')[0].endswith(('classifier', 'score'))


def norms_of(model):
    """The names of the parameters of modules that normalise, whatever a family calls them."""
    return [
        f'{name}.{own}'
        for name, module in model.named_modules()
        if type(module).__name__.endswith('Norm')
        for own, _ in module.named_parameters(recurse=False)
    ]


def kernels(case):
    folder = os.path.join(HERE, case.name, 'checkpoint')
    with open(os.path.join(HERE, case.name, 'golden.json')) as file:
        rows = json.load(file)['rows']
    assert rows == make_rows(case), case.name
    with Double():
        model = opened(case, folder)
        names = [
            name
            for name, _ in model.named_parameters()
            if below_head(name) or case.head != 'classifier'
        ]
        found = {
            'bias': [name for name in names if name.endswith('bias')],
            'norms': [name for name in norms_of(model) if name in names],
        }
        vectors = dict(model.named_parameters())
        assert all(vectors[name].dim() == 1 for some in found.values() for name in some)
        return {
            kind: kernel(case, model, rows, some) if some else None for kind, some in found.items()
        }


if __name__ == '__main__':
    save_json(
        os.path.join(os.path.dirname(HERE), 'vector-kernels.json'),
        {case.name: kernels(case) for case in CASES},
    )
