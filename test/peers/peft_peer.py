"""What transformers and PEFT make of a checkpoint and an adapter; called by the tests beside."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

torch.set_num_threads(1)


def batch(rows):
    longest = max(len(row['ids']) for row in rows)
    pad = lambda key: torch.tensor([row[key] + [0] * (longest - len(row[key])) for row in rows])
    mask = torch.tensor([[1] * len(row['ids']) + [0] * (longest - len(row['ids'])) for row in rows])
    return {'input_ids': pad('ids'), 'token_type_ids': pad('typeIds'), 'attention_mask': mask}


def base(checkpoint, classes):
    return AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=classes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def logits_of(model, rows):
    with torch.no_grad():
        return model.eval()(**batch(rows)).logits.tolist()


def layers_of(model):
    """Module → [rank, scale] of every layer that PEFT wraps."""
    return {
        name.removeprefix('base_model.model.'): [module.r['default'], module.scaling['default']]
        for name, module in model.named_modules()
        if hasattr(module, 'lora_A') and 'default' in module.lora_A
    }


def make(checkpoint, classes, rows, variants, unimplemented):
    """An adapter of each LoraConfig, everything that it trains drawn at random, saved; its logits
    and layers.
    """
    answer = {}
    torch.manual_seed(23)
    for name, (folder, config) in variants.items():
        model = get_peft_model(base(checkpoint, classes), LoraConfig(**config))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        answer[name] = {'logits': logits_of(model, rows), 'layers': layers_of(model)}
    for name, (folder, config) in unimplemented.items():
        get_peft_model(base(checkpoint, classes), LoraConfig(**config)).save_pretrained(folder)
    return answer


def read(checkpoint, classes, rows, adapters, models, changed):
    """Logits of adapter folders, of checkpoint folders, and of files that hold what changed of the
    checkpoint.
    """
    answer = {}
    for name, folder in adapters.items():
        model = PeftModel.from_pretrained(base(checkpoint, classes), folder)
        answer[name] = {'logits': logits_of(model, rows), 'layers': layers_of(model)}
    for name, folder in models.items():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(
            info[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys')
        ), info
        answer[name] = {'logits': logits_of(model, rows), 'labels': model.config.id2label}
    for name, file in changed.items():
        model = base(checkpoint, classes)
        assert model.load_state_dict(load_file(file), strict=False).unexpected_keys == []
        answer[name] = {'logits': logits_of(model, rows)}
    return answer
