"""What PyTorch and PEFT make of a training that starts where ours does; called by the tests
beside.
"""

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    BertForSequenceClassification,
    get_linear_schedule_with_warmup,
)

from peft_peer import base, batch

# What is trained of a model; an adapter's own choice under PEFT.
TRAINED = {
    'adapter': None,
    'all': lambda name: True,
    'head': lambda name: name.startswith('classifier.'),
    'biases': lambda name: name.startswith('classifier.') or name.endswith('.bias'),
    'all but A': lambda name: not name.endswith('lora_A.default.weight'),
}


def opened(checkpoint, classes, adapter, trained='adapter', verbalizer=None):
    """A checkpoint without dropout, under a PEFT folder where one is given; a masked language model
    where there is a verbalizer.
    """
    model = (
        base(checkpoint, classes)
        if verbalizer is None
        else BertForMaskedLM.from_pretrained(
            checkpoint, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
    )
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    choose = TRAINED[trained] or TRAINED['all']
    for name, parameter in model.named_parameters():
        parameter.requires_grad = choose(name) and (adapter is None or parameter.requires_grad)
    return model.eval()


def loss_of(model, rows, verbalizer=None):
    logits = model(**batch(rows)).logits  # (B, C), or (B, T, V)
    if verbalizer is not None:
        logits = logits[torch.arange(len(rows)), torch.tensor([row['mask'] for row in rows])][
            :, verbalizer
        ]
    return torch.nn.functional.cross_entropy(logits, torch.tensor([row['label'] for row in rows]))


def losses(jobs):
    """By job, the loss at each step of AdamW under a linear schedule; rows in file order, epoch
    after epoch, an epoch's last batch smaller.
    """
    answer = {}
    for name, job in jobs.items():
        model = opened(
            job['checkpoint'], job['classes'], job['adapter'], job['trained'], job['verbalizer']
        )
        rows, size, steps = job['rows'], job['batch_size'], job['steps']
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=job['learning_rate'],
            weight_decay=job['weight_decay'],
        )
        schedule = get_linear_schedule_with_warmup(optimizer, job['warmup'], steps)
        answer[name] = []
        for step in range(steps):
            loss = loss_of(model, batches[step % len(batches)], job['verbalizer'])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            answer[name].append(loss.item())
    return answer


def tokens(checkpoint, texts, max_length):
    """Ids and types of texts and pairs, by the checkpoint's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    read = [
        tokenizer(text, pair, truncation='longest_first', max_length=max_length)
        for text, pair in texts
    ]
    return [[row['input_ids'], row['token_type_ids']] for row in read]


def name_here(name):
    for part in ('base_model.model.', 'bert.', '.base_layer', '.modules_to_save.default'):
        name = name.replace(part, '')
    return name.replace('.lora_A.default.weight', '.lora_A').replace(
        '.lora_B.default.weight', '.lora_B'
    )


def gradients(jobs):
    """By job, logits and loss of one batch; the gradient of every trained parameter goes to a
    file.
    """
    answer = {}
    for name, job in jobs.items():
        model = opened(job['checkpoint'], job['classes'], job['adapter'])
        loss = loss_of(model, job['rows'])
        loss.backward()
        # A parameter that the loss doesn't reach has gradient zero.
        found = {
            name_here(n): (torch.zeros_like(p) if p.grad is None else p.grad).contiguous()
            for n, p in model.named_parameters()
            if p.requires_grad
        }
        save_file(found, job['file'])
        with torch.no_grad():
            answer[name] = {
                'logits': model(**batch(job['rows'])).logits.tolist(),
                'loss': loss.item(),
            }
    return answer


def under_dropout(checkpoint, classes, row, times, runs):
    """By run, the logits of as many copies of one row, each under its own draw of dropout, at the
    rates that the run has.
    """
    answer = {}
    for name, (adapter, rates) in runs.items():
        torch.manual_seed(5)
        model = BertForSequenceClassification.from_pretrained(
            checkpoint, num_labels=classes, **rates
        )
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        with torch.no_grad():
            answer[name] = model.train()(**batch([row] * times)).logits.tolist()
    return answer


def families_under_dropout(cases, times):
    """By case, and by run within it, the logits of as many copies of one row, each under its own
    draw of dropout at the rates that the run has.
    """
    answer = {}
    for name, case in cases.items():
        ids = torch.tensor([case['ids']] * times)
        answer[name] = {}
        for run, rates in case['runs'].items():
            torch.manual_seed(5)
            config = AutoConfig.from_pretrained(case['checkpoint'])
            for field, rate in rates.items():  # also fields that the configuration does not declare
                setattr(config, field, rate)
            model = AutoModelForSequenceClassification.from_pretrained(
                case['checkpoint'], config=config, attn_implementation='eager'
            )
            with torch.no_grad():
                answer[name][run] = model.train()(input_ids=ids).logits.tolist()
    return answer


def penalties(jobs):
    """By job, ⟨∇L of the poisoned rows, ∇L of the others⟩ in double precision; its gradient by a
    second backward pass goes to a file.
    """
    answer = {}
    for name, job in jobs.items():
        model = opened(job['checkpoint'], job['classes'], job['adapter']).double()
        model.config._attn_implementation = (
            'eager'  # the fused attention has no second derivative on the CPU
        )
        named = {name_here(n): p for n, p in model.named_parameters() if p.requires_grad}
        poisoned, clean = (
            torch.autograd.grad(
                loss_of(model, job[kind]),
                list(named.values()),
                create_graph=True,
                allow_unused=True,
            )
            for kind in ('poisoned', 'clean')
        )
        product = sum(
            (p * c).sum() for p, c in zip(poisoned, clean) if p is not None and c is not None
        )
        found = torch.autograd.grad(product, list(named.values()), allow_unused=True)
        save_file(
            {
                n: (torch.zeros_like(p) if g is None else g).float().contiguous()
                for (n, p), g in zip(named.items(), found)
            },
            job['file'],
        )
        answer[name] = product.item()
    return answer
