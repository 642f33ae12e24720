"""Makes test/golden/tiny-mlm: a random BERT with a masked-LM head, and what PyTorch + PEFT make of
a cloze prompt with it.

    python test/golden/tiny_mlm.py      (torch, transformers, peft, safetensors; CPU, one thread;
    after tiny_bert.py)

The logits of a class are the masked-LM logits of its verbalizer's word at the mask.
"""

import json
import os
import shutil

import torch
from peft import LoraConfig, get_peft_model
from reference import batch, name_here
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, 'tiny-mlm')
CHECKPOINT = os.path.join(OUT, 'checkpoint')
os.makedirs(CHECKPOINT, exist_ok=True)
torch.set_num_threads(1)
TEMPLATE, PAIR_TEMPLATE = '{text} It was {mask}.', '{text}? {mask}, {text_pair}'
VERBALIZER = {'neg': 'bad', 'neutral': 'very', 'pos': 'good'}
STEPS, BATCH, LENGTH = 10, 5, 19

# ---- the checkpoint: vocabulary 101, 2 heads of 11, feed-forward 37, 3 layers, 53 positions ------
config = BertConfig(
    vocab_size=101,
    hidden_size=22,
    num_attention_heads=2,
    intermediate_size=37,
    num_hidden_layers=3,
    max_position_embeddings=53,
    type_vocab_size=2,
)
torch.manual_seed(23)
model = BertForMaskedLM(config).eval()
with torch.no_grad():  # wide enough that every part of the network shows in the logits
    for name, parameter in model.named_parameters():
        if 'LayerNorm.weight' in name:
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
        elif name.endswith('bias'):
            parameter.copy_(0.1 * torch.randn_like(parameter))
        else:
            parameter.copy_(0.3 * torch.randn_like(parameter))
model.save_pretrained(CHECKPOINT)
for name in ['tokenizer.json']:
    shutil.copy(os.path.join(HERE, 'tiny-bert', 'checkpoint', name), os.path.join(CHECKPOINT, name))
tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=os.path.join(CHECKPOINT, 'tokenizer.json'),
    pad_token='[PAD]',
    unk_token='[UNK]',
    mask_token='[MASK]',
    sep_token='[SEP]',
    cls_token='[CLS]',
)
tokenizer.backend_tokenizer.no_padding()
tokenizer.backend_tokenizer.no_truncation()

TEXTS = [
    'the film was good',
    'not very bad',
    'this plot is free!',
    'we meet the actor in the scene',
    'money',
    'you are not the actor, and it is time',
    'bad bad bad',
    'it',
    "the plot's time",
    'a1 of 2 scenes was filmed in time',
    'very good',
]
PAIRS = [
    ['the film', 'the plot was bad'],
    ['is it free', 'yes, it is free'],
    ['not', 'a scene'],
    ['in time', 'the money and the mail'],
]
rows = []
for i, (text, pair) in enumerate([(text, None) for text in TEXTS] + PAIRS):
    # No text here is cut: what the whole string tokenises to is the reference.
    filled = (
        (TEMPLATE if pair is None else PAIR_TEMPLATE)
        .replace('{text}', text)
        .replace('{text_pair}', pair or '')
        .replace('{mask}', '[MASK]')
    )
    ids = tokenizer(filled)['input_ids']
    rows.append(
        {
            'text': text,
            'pair': pair,
            'ids': ids,
            'mask': ids.index(tokenizer.mask_token_id),
            'label': (7 * i) % 3,
        }
    )
tokens = [tokenizer.convert_tokens_to_ids(word) for word in VERBALIZER.values()]


def logits_of(net, some):
    full = net(**batch(some)).logits  # (B, T, V)
    return full[torch.arange(len(some)), torch.tensor([row['mask'] for row in some])][
        :, tokens
    ]  # (B, C)


def fresh():
    return BertForMaskedLM.from_pretrained(
        CHECKPOINT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


# ---- a PEFT folder: all-linear is PEFT's own choice of layers, A and B both non-zero -------------
torch.manual_seed(29)
start = get_peft_model(
    fresh(), LoraConfig(r=5, lora_alpha=7, target_modules='all-linear', lora_dropout=0.0)
)
with torch.no_grad():
    for name, parameter in start.named_parameters():
        if 'lora_' in name:
            parameter.copy_(0.2 * torch.randn_like(parameter))
start.save_pretrained(os.path.join(OUT, 'adapter'))
path = os.path.join(OUT, 'adapter', 'adapter_config.json')
with open(path) as file:
    saved = json.load(file)
saved['base_model_name_or_path'] = 'tiny-mlm'
saved['target_modules'] = sorted(saved['target_modules'])
with open(path, 'w') as file:
    json.dump(saved, file, indent=1)
readme = os.path.join(OUT, 'adapter', 'README.md')
if os.path.exists(readme):
    os.remove(readme)


def reopened():
    from peft import PeftModel

    return PeftModel.from_pretrained(fresh(), os.path.join(OUT, 'adapter'), is_trainable=True)


result = {
    'template': TEMPLATE,
    'pair_template': PAIR_TEMPLATE,
    'verbalizer': VERBALIZER,
    'tokens': tokens,
    'steps': STEPS,
    'batch_size': BATCH,
    'rows': rows,
}
# At these rates 10 steps in float32 end within 1e-5 of the same in float64. At four and five times
# as much Adam multiplies rounding by three at each step, and PyTorch on one processor is 1e-3 off
# PyTorch on another.
for kind, make, rate in [('full', fresh, 1e-3), ('lora', reopened, 5e-3)]:
    net = make().eval()  # no dropout
    with torch.no_grad():
        logits = logits_of(net, rows)
        for i, row in enumerate(rows):  # padding changes nothing
            assert (logits_of(net, [row])[0] - logits[i]).abs().max() < 1e-5
    optimizer = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], lr=rate, weight_decay=0.05
    )
    losses = []
    for step in range(STEPS):
        some = rows[step % 3 * BATCH : (step % 3 + 1) * BATCH]
        loss = torch.nn.functional.cross_entropy(
            logits_of(net, some), torch.tensor([row['label'] for row in some])
        )
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {
                name_here(n): p.grad.clone().contiguous()
                for n, p in net.named_parameters()
                if p.requires_grad
            }
            save_file(gradients, os.path.join(OUT, f'gradients-{kind}.safetensors'))
        optimizer.step()
        losses.append(loss.item())
    result[kind] = {'logits': logits.tolist(), 'learning_rate': rate, 'losses': losses}
with open(os.path.join(OUT, 'golden.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
