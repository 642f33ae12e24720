"""Makes test/golden/tiny-mlm/masked.json: what transformers + PEFT make of masked texts under the
tiny masked-LM checkpoint.

    python test/golden/masked_lm.py      (torch, transformers, peft; CPU, one thread; after
    tiny_mlm.py)

Which tokens are masked is chosen here, by hand; the loss is BertForMaskedLM's own, over the tokens
to predict.
"""

import json
import os

import torch
from peft import PeftModel
from transformers import BertForMaskedLM

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-mlm')
torch.set_num_threads(1)
MASK, OTHER = 4, 37
with open(os.path.join(OUT, 'golden.json')) as file:
    texts = [row['ids'] for row in json.load(file)['rows']]
with open(os.path.join(OUT, 'checkpoint', 'tokenizer.json')) as file:
    assert json.load(file)['model']['vocab']['[MASK]'] == MASK

rows = []
for i, ids in enumerate(texts):
    inner = list(range(1, len(ids) - 1))
    places = sorted({inner[(3 * i + 1) % len(inner)], inner[(5 * i + 2) % len(inner)]})
    shown = list(ids)
    for k, place in enumerate(places):
        shown[place] = [MASK, OTHER, ids[place]][(i + k) % 3]  # masked, at random, as it is
    rows.append({'ids': shown, 'places': places, 'tokens': [ids[place] for place in places]})


def losses(net):
    found = []
    with torch.no_grad():
        for row in rows:
            labels = [-100] * len(row['ids'])
            for place, token in zip(row['places'], row['tokens']):
                labels[place] = token
            out = net(input_ids=torch.tensor([row['ids']]), labels=torch.tensor([labels]))
            found.append(
                out.loss.item() * len(row['places'])
            )  # the mean over places, times their number
    return found


base = BertForMaskedLM.from_pretrained(os.path.join(OUT, 'checkpoint')).eval()
result = {'rows': rows, 'full': losses(base)}
result['lora'] = losses(PeftModel.from_pretrained(base, os.path.join(OUT, 'adapter')).eval())
with open(os.path.join(OUT, 'masked.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
