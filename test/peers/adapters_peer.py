"""What PEFT and transformers make of adapters of every family; called by adapters.test.ts."""

import json
import os

import peft
import torch
from families_peer import load, logits_of
from peft import PeftModel, get_peft_model
from peft.utils import load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

torch.set_num_threads(1)


def under(model, folder):
    """The model with what a folder holds: an adapter, or the parameters that changed."""
    adapter, changed = os.path.join(folder, 'adapter'), os.path.join(folder, 'changed.safetensors')
    if os.path.exists(changed):
        assert model.load_state_dict(load_file(changed), strict=False).unexpected_keys == [], folder
        return model
    model = PeftModel.from_pretrained(model, adapter).eval()
    result = set_peft_model_state_dict(model, load_peft_weights(adapter))
    assert result.unexpected_keys == [], result.unexpected_keys
    own = [
        key
        for key in result.missing_keys
        if any(part in key for part in ('lora_', 'vera_lambda', 'modules_to_save'))
    ]
    assert own == [], own
    return model


def asked_of(case):
    return [case[key] for key in ('head', 'rows', 'tokens')]


def read(cases):
    """Logits of each case's checkpoint under the folder that was written here."""
    return {
        name: logits_of(
            under(load(case['checkpoint'], case['head']), case['folder']), *asked_of(case)
        )
        for name, case in cases.items()
    }


def decompose_in_double(model):
    """PiSSA's frozen weights W − s·B₀A₀ from an SVD in double precision, as those that read the
    adapter have it. PEFT's own is in float32: off by 1e-6 to 5e-5, depending on the processor's
    LAPACK and on how near the singular values lie, and logits show ten times as much.
    """
    for module in model.modules():
        if 'default' not in getattr(module, 'lora_A', {}):
            continue
        weight, rank = module.get_base_layer().weight, module.r['default']
        whole = (weight + module.get_delta_weight('default')).detach().double()
        left, values, right = torch.linalg.svd(whole, full_matrices=False)
        weight.data = (whole - (left[:, :rank] * values[:rank]) @ right[:rank]).float()


def make(cases):
    """An adapter of each config on the layers of the adapter `like`, everything that it trains
    moved at random, saved; its logits.
    """
    answer = {}
    torch.manual_seed(31)
    for name, case in cases.items():
        with open(os.path.join(case['like'], 'adapter_config.json')) as file:
            targets = json.load(file)['target_modules']
        config = getattr(peft, case['method'])(target_modules=targets, **case['config'])
        model = get_peft_model(load(case['checkpoint'], case['head']), config).eval()
        if case['config'].get('init_lora_weights') == 'pissa':
            decompose_in_double(model)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(case['folder'])
        answer[name] = logits_of(model, *asked_of(case))
    return answer
