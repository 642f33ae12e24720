"""What PyTorch and PEFT make of a training that starts where ours does; called by the tests
beside.
"""

import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    get_linear_schedule_with_warmup,
)

from peft_peer import base, batch


def losses(jobs):
    """By job, the loss at each step of AdamW under a linear schedule; rows in file order, epoch
    after epoch, an epoch's last batch smaller.
    """
    answer = {}
    for name, job in jobs.items():
        model = base(job['checkpoint'], job['classes'])
        if job['adapter'] is not None:
            model = PeftModel.from_pretrained(model, job['adapter'], is_trainable=True)
        model.eval()
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
            some = batches[step % len(batches)]
            loss = torch.nn.functional.cross_entropy(
                model(**batch(some)).logits, torch.tensor([row['label'] for row in some])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            answer[name].append(loss.item())
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
