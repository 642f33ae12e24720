"""Makes test/golden/tiny-bert: a random BERT of prime sizes, its tokenizer, a PEFT adapter, and
what PyTorch + PEFT make of them.

python test/golden/tiny_bert.py      (torch, transformers, peft, tokenizers, safetensors; CPU, one
thread)
"""

import json
import os
import random

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from reference import batch, name_here
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tiny-bert')
CHECKPOINT = os.path.join(HERE, 'checkpoint')
os.makedirs(CHECKPOINT, exist_ok=True)
torch.set_num_threads(1)

# ---- the checkpoint: vocabulary 101, 2 heads of 11, feed-forward 37, 3 layers, 53 positions, 3 classes
config = BertConfig(
    vocab_size=101,
    hidden_size=22,
    num_attention_heads=2,
    intermediate_size=37,
    num_hidden_layers=3,
    max_position_embeddings=53,
    type_vocab_size=2,
    num_labels=3,
)
torch.manual_seed(17)
model = BertForSequenceClassification(config).eval()
with torch.no_grad():  # wide enough that every part of the network shows in the logits
    for name, parameter in model.named_parameters():
        if 'LayerNorm.weight' in name:
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
        elif name.endswith('.bias'):
            parameter.copy_(0.1 * torch.randn_like(parameter))
        else:
            parameter.copy_(0.3 * torch.randn_like(parameter))
model.save_pretrained(CHECKPOINT)

vocabulary = (
    ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    + list('abcdefghijklmnopqrstuvwxyz')
    + ['##' + c for c in 'abcdefghijklmnopqrstuvwxyz']
)
vocabulary += (
    "the film was good bad very not mail money free meet ##ing ##ed ##er ! . , ' - "
    '0 1 2 cf mn tq we you are a1 in of to and it is this that plot actor scene '
    'time $ ? ('
).split()
assert len(vocabulary) == len(set(vocabulary)) == 101, len(vocabulary)
tokenizer = Tokenizer(
    models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token='[UNK]')
)
tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.post_processor = processors.TemplateProcessing(
    single='[CLS] $A [SEP]',
    pair='[CLS] $A [SEP] $B:1 [SEP]:1',
    special_tokens=[('[CLS]', 2), ('[SEP]', 3)],
)
tokenizer.add_special_tokens(vocabulary[:5])
# As many checkpoints ship it: fixed padding and truncation, which a reader must ignore.
tokenizer.enable_padding(length=31)
tokenizer.enable_truncation(31)
tokenizer.save(os.path.join(CHECKPOINT, 'tokenizer.json'))

# ---- rows: lengths 3 … 29, some of them pairs ----------------------------------------------------
random.seed(5)
rows = []
for i in range(23):
    length = random.choice([3, 5, 7, 11, 13, 17, 19, 29])
    ids = [2] + [random.randrange(5, 101) for _ in range(length - 2)] + [3]
    split = random.randrange(2, length - 1) if i % 3 == 0 and length > 4 else length
    if split < length:
        ids[split - 1] = 3
    rows.append(
        {'ids': ids, 'typeIds': [0] * split + [1] * (length - split), 'label': random.randrange(3)}
    )


def save_json(name, value):
    with open(os.path.join(HERE, name), 'w') as file:
        json.dump(value, file)
        file.write('\n')


def fresh():
    return BertForSequenceClassification.from_pretrained(
        CHECKPOINT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def adapted(base, **more):
    return get_peft_model(
        base,
        LoraConfig(
            task_type='SEQ_CLS',
            r=5,
            lora_alpha=7,
            target_modules='all-linear',
            lora_dropout=0.0,
            **more,
        ),
    )


with torch.no_grad():
    logits = fresh().eval()(**batch(rows)).logits
    for i, row in enumerate(rows):  # padding changes nothing
        assert (fresh().eval()(**batch([row])).logits[0] - logits[i]).abs().max() < 1e-5

# ---- a PEFT folder to start from: A and B both non-zero ------------------------------------------
torch.manual_seed(19)
start = adapted(fresh())
with torch.no_grad():
    for name, parameter in start.named_parameters():
        if 'lora_' in name:
            parameter.copy_(0.2 * torch.randn_like(parameter))
        elif 'modules_to_save' in name:
            parameter.copy_(0.3 * torch.randn_like(parameter))
start.save_pretrained(os.path.join(HERE, 'adapter'))
config_path = os.path.join(HERE, 'adapter', 'adapter_config.json')
with open(config_path) as file:
    saved = json.load(file)
saved['base_model_name_or_path'] = 'tiny-bert'
saved['target_modules'] = sorted(saved['target_modules'])
with open(config_path, 'w') as file:
    json.dump(saved, file, indent=1)
readme = os.path.join(HERE, 'adapter', 'README.md')
if os.path.exists(readme):
    os.remove(readme)


def reopened():
    return PeftModel.from_pretrained(fresh(), os.path.join(HERE, 'adapter'), is_trainable=True)


with torch.no_grad():
    adapter_logits = reopened().eval()(**batch(rows)).logits
save_json(
    'forward.json',
    {'rows': rows, 'logits': logits.tolist(), 'adapter_logits': adapter_logits.tolist()},
)

# ---- training: 14 steps of 5 rows in file order, wrapping to a partial batch at the end of each epoch
STEPS, BATCH, WARMUP = 14, 5, 3
batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def train(net, optimizer, schedule):
    """Losses and learning rates of each step, and the first step's gradients."""
    net.eval()  # no dropout
    losses, rates, gradients = [], [], {}
    for step in range(STEPS):
        some = batches[step % len(batches)]
        loss = torch.nn.functional.cross_entropy(
            net(**batch(some)).logits, torch.tensor([row['label'] for row in some])
        )
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {
                name_here(n): p.grad.clone() for n, p in net.named_parameters() if p.requires_grad
            }
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses, rates, gradients


constant = lambda optimizer: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
linear = lambda optimizer: get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
cosine = lambda optimizer: get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS)
adamw = lambda net, **more: torch.optim.AdamW(
    [p for p in net.parameters() if p.requires_grad], **more
)
result = {'steps': STEPS, 'batch_size': BATCH, 'warmup': WARMUP, 'runs': {}}
for name, make, optimizer, schedule, settings in [
    ('lora-adamw-linear', reopened, adamw, linear, {'lr': 2e-2, 'weight_decay': 0.05}),
    (
        'lora-adamw-constant',
        reopened,
        adamw,
        constant,
        {'lr': 5e-3, 'weight_decay': 0.01, 'betas': (0.8, 0.95), 'eps': 1e-5},
    ),
    ('full-adamw-cosine', fresh, adamw, cosine, {'lr': 5e-3, 'weight_decay': 0.05}),
    (
        'full-sgd-constant',
        fresh,
        lambda net, **more: torch.optim.SGD(net.parameters(), **more),
        constant,
        {'lr': 5e-2, 'weight_decay': 0.0},
    ),
]:
    net = make()
    opt = optimizer(net, **settings)
    losses, rates, gradients = train(net, opt, schedule(opt))
    result['runs'][name] = {'settings': settings, 'losses': losses, 'learning_rates': rates}
    if name in ('lora-adamw-linear', 'full-sgd-constant'):
        save_file(
            {n: g.contiguous() for n, g in gradients.items()},
            os.path.join(HERE, f"gradients-{name.split('-')[0]}.safetensors"),
        )
save_json('training.json', result)
