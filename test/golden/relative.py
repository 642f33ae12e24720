"""Makes test/golden/relative.json: the rows of DeBERTa's table of relative positions, as
transformers finds them.

    python test/golden/relative.py      (torch, transformers 5)

[{buckets, positions, rows}]: position_buckets, max_relative_positions, and the row in the table of
2·buckets for a query 0, 1, 2, … places behind its key; the first is DeBERTa-v3's setting. Places
beyond `positions` are clipped.
"""

import json
import os

import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

HERE = os.path.dirname(os.path.abspath(__file__))


def rows(buckets, positions, length):
    states = torch.zeros(length, 1)
    found = build_relative_position(states, states, bucket_size=buckets, max_position=positions)[0]
    assert (found == -found.T).all()
    return torch.clamp(found[:, 0] + buckets, 0, 2 * buckets - 1).tolist()


SETTINGS = [(256, 512, 600), (8, 31, 40), (7, 31, 40), (2, 5, 8), (32, 1000, 1000)]
with open(os.path.join(HERE, 'relative.json'), 'w') as file:
    json.dump(
        [
            {'buckets': buckets, 'positions': positions, 'rows': rows(buckets, positions, length)}
            for buckets, positions, length in SETTINGS
        ],
        file,
        separators=(',', ':'),
    )
    file.write('\n')
