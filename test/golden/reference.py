"""What the scripts beside this one share: a batch as transformers takes it, and PEFT's names for
parameters as ours.
"""

import torch


def batch(some):
    """Rows, each padded to the longest: {ids, typeIds (left out: all 0)} → input_ids,
    token_type_ids, attention_mask, each (B, T).
    """
    longest = max(len(row['ids']) for row in some)
    pad = lambda of: torch.tensor([of(row) + [0] * (longest - len(row['ids'])) for row in some])
    return {
        'input_ids': pad(lambda row: row['ids']),
        'token_type_ids': pad(lambda row: row.get('typeIds') or [0] * len(row['ids'])),
        'attention_mask': pad(lambda row: [1] * len(row['ids'])),
    }


def name_here(name):
    """A parameter's name without the prefixes of BertFor… and PEFT."""
    for part in ('base_model.model.', 'bert.', '.base_layer', '.modules_to_save.default'):
        name = name.replace(part, '')
    return name.replace('.lora_A.default.weight', '.lora_A').replace(
        '.lora_B.default.weight', '.lora_B'
    )
