"""Makes test/golden/adapters: DoRA, PiSSA, OLoRA, LoRA+ and VeRA on the tiny BERT as PyTorch + PEFT
train, save and merge them, and their kernels.

    python test/golden/adapters.py      (torch, transformers, peft, numpy; CPU, one thread; after
    tiny_bert.py)

NAME/start is the folder that training starts from, where it is not the base itself; NAME/end the
one that PEFT saved after 20 steps. Kernels are of the end, in double precision, by plain autograd,
one row and one logit at a time.
"""

import json
import os
import shutil

import numpy as np
import torch
from peft import LoraConfig, PeftModel, VeraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from reference import batch
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TINY, OUT = os.path.join(HERE, 'tiny-bert'), os.path.join(HERE, 'adapters')
torch.set_num_threads(1)
STEPS, BATCH, KERNEL_ROWS = 20, 5, 7
with open(os.path.join(TINY, 'forward.json')) as file:
    rows = json.load(file)['rows']
batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def base():
    return BertForSequenceClassification.from_pretrained(
        os.path.join(TINY, 'checkpoint'), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def save(model, folder):
    model.save_pretrained(folder)
    path = os.path.join(folder, 'adapter_config.json')
    with open(path) as file:
        config = json.load(file)
    config['base_model_name_or_path'] = 'tiny-bert'
    if isinstance(config['target_modules'], list):
        config['target_modules'].sort()
    with open(path, 'w') as file:
        json.dump(config, file, indent=1)
        file.write('\n')
    os.remove(os.path.join(folder, 'README.md'))


def logits(model):
    with torch.no_grad():
        return model.eval()(**batch(rows)).logits


def train(model, optimizer):
    model.eval()  # no dropout
    losses = []
    for step in range(STEPS):
        some = batches[step % len(batches)]
        loss = torch.nn.functional.cross_entropy(
            model(**batch(some)).logits, torch.tensor([row['label'] for row in some])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def kernel(model, names):
    """K (N, C, N, C) over the parameters of these names."""
    leaves = [parameter for name, parameter in model.named_parameters() if name in names]
    for parameter in leaves:
        parameter.requires_grad_(True)
    gradients = []
    for row in rows[:KERNEL_ROWS]:
        f = model(**batch([row])).logits[0]
        for c in range(len(f)):
            gradients.append(
                torch.cat(
                    [g.flatten() for g in torch.autograd.grad(f[c], leaves, retain_graph=True)]
                )
            )
    J = torch.stack(gradients)
    classes = len(gradients) // KERNEL_ROWS
    return (J @ J.T).detach().numpy().reshape(KERNEL_ROWS, classes, KERNEL_ROWS, classes)


def own(model):
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and 'modules_to_save' not in name
    ]


VARIANTS = {
    # name: config, scale of random values that training starts from, learning rate
    'dora': (
        LoraConfig(
            task_type='SEQ_CLS', r=5, lora_alpha=7, target_modules='all-linear', use_dora=True
        ),
        0.2,
        5e-3,
    ),
    'pissa': (
        LoraConfig(
            task_type='SEQ_CLS',
            r=4,
            lora_alpha=6,
            target_modules='all-linear',
            init_lora_weights='pissa',
        ),
        None,
        5e-3,
    ),
    'olora': (
        LoraConfig(
            task_type='SEQ_CLS',
            r=3,
            lora_alpha=6,
            use_rslora=True,
            target_modules=['query', 'value', 'output.dense'],
            init_lora_weights='olora',
        ),
        None,
        5e-3,
    ),
    'dora-pissa': (
        LoraConfig(
            task_type='SEQ_CLS',
            r=3,
            lora_alpha=3,
            target_modules=['query', 'dense'],
            use_dora=True,
            init_lora_weights='pissa',
        ),
        None,
        5e-3,
    ),
    'vera': (
        VeraConfig(
            task_type='SEQ_CLS',
            r=7,
            target_modules='all-linear',
            projection_prng_key=11,
            d_initial=0.2,
        ),
        None,
        3e-2,
    ),
    'vera-drawn': (
        VeraConfig(
            task_type='SEQ_CLS',
            r=5,
            target_modules=['query', 'intermediate.dense'],
            projection_prng_key=3,
            save_projection=False,
        ),
        0.3,
        3e-2,
    ),
    'lora-plus': (
        LoraConfig(
            task_type='SEQ_CLS',
            r=4,
            lora_alpha=6,
            target_modules='all-linear',
            init_lora_weights='olora',
        ),
        None,
        3e-4,
    ),
}
RATIO = 16
shutil.rmtree(OUT, ignore_errors=True)
result = {
    'steps': STEPS,
    'batch_size': BATCH,
    'kernel_rows': KERNEL_ROWS,
    'ratio': RATIO,
    'variants': {},
}
torch.manual_seed(29)
for name, (config, spread, rate) in VARIANTS.items():
    folder = os.path.join(OUT, name)
    model = get_peft_model(base(), config)
    if spread is not None:
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if parameter.requires_grad and 'magnitude' in parameter_name:
                    parameter.mul_(1 + spread * torch.randn_like(parameter))
                elif parameter.requires_grad:
                    parameter.copy_(spread * torch.randn_like(parameter))
        save(model, os.path.join(folder, 'start'))
    start = {
        n.replace('base_model.model.', '').replace('.default', ''): p.detach().clone()
        for n, p in model.named_parameters()
        if p.requires_grad and 'modules_to_save' not in n
    }
    start_logits = logits(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == 'lora-plus':
        optimizer = create_loraplus_optimizer(
            model, torch.optim.AdamW, lr=rate, loraplus_lr_ratio=RATIO
        )
    else:
        optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    losses = train(model, optimizer)
    end_logits = logits(model)
    save(model, os.path.join(folder, 'end'))
    model = PeftModel.from_pretrained(base(), os.path.join(folder, 'end'), is_trainable=True)
    assert (logits(model) - end_logits).abs().max() < 1e-4, name
    layers = [
        n.replace('base_model.model.', '')
        for n, module in model.named_modules()
        if hasattr(module, 'base_layer')
    ]
    model = model.double().eval()
    np.save(os.path.join(folder, 'kernel-lora.npy'), kernel(model, own(model)))
    merged = model.merge_and_unload().eval()
    np.save(
        os.path.join(folder, 'kernel-full.npy'),
        kernel(merged, [f'{layer}.weight' for layer in layers]),
    )
    result['variants'][name] = {
        'rate': rate,
        'layers': layers,
        'logits': start_logits.tolist(),
        'losses': losses,
        'end_logits': end_logits.tolist(),
        'merged_logits': logits(merged).tolist(),
        # what is not drawn at random
        'start': None
        if spread is not None
        else {n: value.tolist() for n, value in start.items() if 'layer.1.' in n or 'pooler' in n},
    }
with open(os.path.join(OUT, 'golden.json'), 'w') as file:
    json.dump(result, file)
    file.write('\n')
