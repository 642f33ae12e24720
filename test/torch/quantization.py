"""Logits of texts by a classifier in a folder that transformers has bitsandbytes quantise.

Arguments: the folder, that of its tokenizer, `nf4` or `int8`, and a JSON file of texts.
"""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

torch.set_num_threads(1)
folder, checkpoint, method, file = sys.argv[1:]
whole = ['classifier']
nf4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type='nf4',
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
    llm_int8_skip_modules=whole,
)
int8 = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
model = AutoModelForSequenceClassification.from_pretrained(
    folder,
    dtype=torch.float32,
    quantization_config=nf4 if method == 'nf4' else int8,
    device_map={'': 'cpu'},
)
layers = {type(module).__name__ for name, module in model.named_modules() if 'query' in name}
for module in model.modules():  # else evaluation is in bfloat16 on some processors
    if hasattr(module, 'support_avx512bf16_for_cpu'):
        module.support_avx512bf16_for_cpu = False
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
with open(file) as text, torch.no_grad():
    rows = tokenizer(
        json.load(text), padding=True, truncation=True, max_length=16, return_tensors='pt'
    )
    print(json.dumps({'layers': sorted(layers), 'logits': model(**rows).logits.tolist()}))
