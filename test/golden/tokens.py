"""Makes test/golden/tiny-bert/tokens.json (python test/golden/tokens.py), or for another tokenizer:
tokens.py TOKENIZER.JSON OUT.JSON

Ids and type ids by Python's tokenizers: strings in full, pairs cut longest-first at several
lengths.
"""

import json
import os
import sys

from strings import LENGTHS, PAIRS, STRINGS
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
source, out = (
    sys.argv[1:3]
    if len(sys.argv) == 3
    else (
        os.path.join(HERE, 'tiny-bert/checkpoint/tokenizer.json'),
        os.path.join(HERE, 'tiny-bert/tokens.json'),
    )
)
tokenizer = Tokenizer.from_file(source)
tokenizer.no_padding()
tokenizer.no_truncation()
result = {'strings': [], 'cut': []}
for text in STRINGS:
    result['strings'].append({'text': text, 'ids': tokenizer.encode(text).ids})
for length in LENGTHS:
    tokenizer.enable_truncation(length, strategy='longest_first')
    for text, pair in [[s, None] for s in STRINGS[2:5]] + PAIRS:
        if pair is None or length > 3:
            encoding = tokenizer.encode(text, pair)
            result['cut'].append(
                {
                    'text': text,
                    'pair': pair,
                    'length': length,
                    'ids': encoding.ids,
                    'types': encoding.type_ids,
                }
            )
with open(out, 'w') as file:
    json.dump(result, file)
    file.write('\n')
