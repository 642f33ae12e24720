"""Makes test/golden/weights: the tiny BERT as transformers saves it in float16 and bfloat16,
sharded, and what PyTorch makes of it.

    python test/golden/weights.py      (torch, transformers; CPU, one thread; after tiny_bert.py)

Logits are those of the rounded weights computed in float32, which is what widening them must give.
"""

import json
import os
import shutil

import torch
from reference import batch
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TINY, OUT = os.path.join(HERE, 'tiny-bert'), os.path.join(HERE, 'weights')
torch.set_num_threads(1)
with open(os.path.join(TINY, 'forward.json')) as file:
    rows = json.load(file)['rows']
result = {}
for name, dtype, shard in [
    ('float16-sharded', torch.float16, '16KB'),
    ('bfloat16', torch.bfloat16, '1GB'),
]:
    dir = os.path.join(OUT, name)
    shutil.rmtree(dir, ignore_errors=True)
    BertForSequenceClassification.from_pretrained(
        os.path.join(TINY, 'checkpoint'), dtype=dtype
    ).save_pretrained(dir, max_shard_size=shard)
    assert os.path.exists(os.path.join(dir, 'model.safetensors.index.json')) == (shard == '16KB'), (
        name
    )
    with torch.no_grad():
        logits = (
            BertForSequenceClassification.from_pretrained(dir, dtype=torch.float32)
            .eval()(**batch(rows))
            .logits
        )
    result[name] = {
        'shards': len([file for file in os.listdir(dir) if file.endswith('.safetensors')]),
        'logits': logits.tolist(),
    }
with open(os.path.join(OUT, 'logits.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
