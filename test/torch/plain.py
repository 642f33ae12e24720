"""Tiny models that are no family of the first engine, and what plain PyTorch and PEFT make of them:
written as anyone would, with each row alone.

python plain.py make FOLDER             writes a checkpoint for each of MODELS
python plain.py train REQUESTS          trains one model after another, and prints what it saw
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from peft import PeftConfig, PeftModel, get_peft_model

SIZES = {
    'hidden_size': 16,
    'intermediate_size': 24,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'vocab_size': 512,
    'bos_token_id': 1,
    'eos_token_id': 2,
    'pad_token_id': 0,
}
ROW = {'max_position_embeddings': 64}
MODELS = {
    'phi': ('PhiForCausalLM', {**SIZES, **ROW}),
    'phi-classifier': ('PhiForSequenceClassification', {**SIZES, **ROW, 'num_labels': 3}),
    'olmo': ('OlmoForCausalLM', {**SIZES, **ROW}),
    'falcon': ('FalconForCausalLM', {**SIZES, **ROW, 'num_kv_heads': 1}),
    'mamba': (
        'MambaForCausalLM',
        {**SIZES, 'intermediate_size': 32, 'state_size': 4, 'time_step_rank': 3},
    ),
    'electra': (
        'ElectraForSequenceClassification',
        {**SIZES, **ROW, 'embedding_size': 8, 'num_labels': 3},
    ),
    'mpnet': ('MPNetForMaskedLM', {**SIZES, **ROW, 'pad_token_id': 1, 'bos_token_id': 0}),
    # Padding behind a row changes what it makes of it.
    'fnet': ('FNetForSequenceClassification', {**SIZES, **ROW, 'num_labels': 3}),
}


def make(folder):
    for number, (name, (kind, settings)) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        cls = getattr(transformers, kind)
        model = cls(cls.config_class(**settings))
        with torch.no_grad():
            for parameter in model.parameters():
                # Large enough that each entry counts.
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder / name)


def logits_of(model, row, tokens):
    """Of a row the logits of its classes, (1, C), or of its answer's tokens, (Q, V)."""
    inputs = {'input_ids': torch.tensor([row['ids']])}
    if getattr(model.config, 'type_vocab_size', 0) > 1:
        inputs['token_type_ids'] = torch.tensor([row['types']])
    logits = model(**inputs).logits
    if 'answer' in row:
        return logits[0, row['answer'] - 1 : -1]
    if 'mask' in row:
        return logits[0, row['mask'], tokens][None]
    return logits


def targets_of(row):
    return torch.tensor(row['ids'][row['answer'] :] if 'answer' in row else [row['label']])


def outputs_of(model, row, tokens):
    logits = logits_of(model, row, tokens)
    if 'answer' not in row:
        return logits[0]
    own = logits.log_softmax(1)
    return own[torch.arange(len(own)), targets_of(row)].sum()[None]


def kernel_of(model, rows, tokens, names):
    named = dict(model.named_parameters())
    parameters = [named[name] for name in names]
    for parameter in parameters:
        parameter.requires_grad_(True)
    if not names:
        return []
    gradients = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(f, parameters, retain_graph=True)]
        ).double()
        for row in rows
        for f in outputs_of(model, row, tokens)
    ]
    return (torch.stack(gradients) @ torch.stack(gradients).T).flatten().tolist()


def train(asked):
    kind, rows, tokens = getattr(transformers, asked['class']), asked['rows'], asked['tokens']
    model = kind.from_pretrained(asked['checkpoint'], dtype=torch.float32)
    if asked['drawn']:
        config = PeftConfig.from_pretrained(asked['adapter'])
        config.inference_mode = False
        torch.manual_seed(1)
        model = get_peft_model(model, config)
    elif asked['adapter'] is not None:
        model = PeftModel.from_pretrained(model, asked['adapter'], is_trainable=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=asked['rate'], weight_decay=asked['decay'])
    losses, size = [], asked['batch']
    for step in range(asked['steps']):
        start = step * size % len(rows)
        batch = rows[start : start + size]
        logits = torch.cat([logits_of(model, row, tokens) for row in batch])
        targets = torch.cat([targets_of(row) for row in batch])
        loss = torch.nn.functional.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        outputs = [outputs_of(model, row, tokens).tolist() for row in rows]
        texts = [
            model.generate(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=asked['new'],
                do_sample=False,
                eos_token_id=2,
            )[0, len(ids) :].tolist()
            for ids in asked['prompts']
        ]
    names = [
        name
        for name, _ in model.named_parameters()
        if name.removeprefix('base_model.model.').replace('.base_layer', '') in asked['weights']
        or (asked['own'] and '.default' in name and 'modules_to_save' not in name)
    ]
    return {
        'losses': losses,
        'outputs': outputs,
        'texts': texts,
        'kernel': kernel_of(model, rows, tokens, names),
    }


if __name__ == '__main__':
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if sys.argv[1] == 'make':
        make(Path(sys.argv[2]))
    else:
        print(json.dumps([train(asked) for asked in json.loads(Path(sys.argv[2]).read_text())]))
