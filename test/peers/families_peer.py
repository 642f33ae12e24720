"""What transformers and PEFT make of checkpoints and adapters of every family; called by
families.test.ts.
"""

import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import load_peft_weights, set_peft_model_state_dict
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)

torch.set_num_threads(1)
AUTO = {
    'classifier': AutoModelForSequenceClassification,
    'cloze': AutoModelForMaskedLM,
    'causal-lm': AutoModelForCausalLM,
}


def load(folder, head):
    """The model of a folder, of which nothing is missing or left over."""
    model, info = AUTO[head].from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys')), (
        folder,
        info,
    )
    return model.eval()


def logits_of(model, head, rows, tokens):
    """The outputs of each row alone, one after another."""
    out = []
    with torch.no_grad():
        for row in rows:
            more = {'token_type_ids': torch.tensor([row['typeIds']])} if 'typeIds' in row else {}
            logits = model(input_ids=torch.tensor([row['ids']]), **more).logits[0]
            if head == 'cloze':
                logits = logits[row['mask']][tokens]
            if head == 'causal-lm':
                logits = logits[row['answer'] - 1 : len(row['ids']) - 1]
            out += logits.flatten().tolist()
    return out


def adapted(model, folder):
    """The model under the adapter of a folder, which PEFT reads whole and without correcting its
    config.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*fan_in_fan_out.*')
        model = PeftModel.from_pretrained(model, folder).eval()
    result = set_peft_model_state_dict(model, load_peft_weights(folder))
    assert result.unexpected_keys == [], result.unexpected_keys
    own = [key for key in result.missing_keys if 'lora_' in key or 'modules_to_save' in key]
    assert own == [], own
    return model


def read(cases):
    """Logits of each case's checkpoint that was written here, of its merged one, and of its base
    under the adapter.
    """
    answer = {}
    for name, case in cases.items():
        asked = [case['head'], case['rows'], case['tokens']]
        model = adapted(load(case['checkpoint'], case['head']), case['adapter'])
        answer[name] = {
            'full': logits_of(load(case['full'], case['head']), *asked),
            'merged': logits_of(load(case['merged'], case['head']), *asked),
            'lora': logits_of(model, *asked),
            'task': type(model).__name__,
        }
    return answer


def make(checkpoint, head, rows, tokens, config, folder):
    """An adapter of this LoraConfig, everything that it trains drawn at random, saved; its
    logits.
    """
    torch.manual_seed(29)
    model = get_peft_model(load(checkpoint, head), LoraConfig(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return logits_of(model, head, rows, tokens)
