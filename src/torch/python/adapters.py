"""Adapters that PEFT makes of a config: what they add to a model, and where they start."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from peft import PeftConfig, get_peft_model, get_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from model import PREFIX, Fault, read_config, wire_name, without_values
from training import write

Json = dict[str, Any]

# The methods that are run. Under each, an adapted layer is linear in its input, nothing is done
# between steps, and PEFT's file holds what is trained. test/torch compares each with PEFT.
METHODS = (
    *('LORA', 'IA3', 'LOHA', 'LOKR', 'OFT', 'BOFT', 'HRA', 'FOURIERFT'),
    *('HIRA', 'GRALORA', 'C3A', 'MISS', 'ROAD'),
)
REFUSED_METHODS = {
    'ADALORA': 'its ranks change between steps, by a loss of its own',
    'VERA': 'it is an adapter of its own: type: vera',
    'LN_TUNING': 'it is an adapter of its own: type: ln-tuning',
    'PREFIX_TUNING': 'it changes what the model reads',
    'PROMPT_TUNING': 'it changes what the model reads',
    'P_TUNING': 'it changes what the model reads',
    'MULTITASK_PROMPT_TUNING': 'it changes what the model reads',
}
# Fields that a config must not set, and why.
REFUSED_FIELDS = {
    'task_type': 'it follows from head.type',
    'modules_to_save': 'the head is trained beside the adapter, and nothing else',
    'base_model_name_or_path': 'it is model.source',
    'revision': 'the model is a folder',
    'inference_mode': 'a training is not one',
    'auto_mapping': 'the class of the model is known',
    'peft_version': 'it is that of the Python that runs',
    'trainable_token_indices': 'the token table is not trained beside an adapter',
    'target_parameters': 'linear layers are adapted, and nothing else',
    'layer_replication': 'the layers of the model are left as they are',
}
# The values of PEFT's fields `init_…` for which neither weights nor data are needed.
INITS = (True, False, None, 'gaussian', 'orthogonal')


def adapter(request: Json) -> Json:
    """Performs `adapter` of src/torch/protocol.ts."""
    try:
        config: Any = config_of(request['config'])
    except Fault as error:
        return fault(error.field, str(error), error.hint)
    config.task_type = request['task']
    config.modules_to_save = request['head'] or None
    network = weightless(request['class'], Path(request['checkpoint']))
    torch.manual_seed(request['seed'])
    try:
        wrapped: Any = get_peft_model(network, config)
        return describe_adapter(network, wrapped, request)
    except Fault as error:
        return fault(error.field, str(error), error.hint)
    except Exception as error:  # PEFT refuses the config
        return fault(field_named_in(str(error), request['config']), peft_message(error))


def fault(field: str | None, message: str, hint: str | None = None) -> Json:
    return {'fault': {'field': field, 'message': message, 'hint': hint}}


def peft_message(error: Exception) -> str:
    return f'PEFT {peft.__version__}: {" ".join(str(error).split())}'


def field_named_in(message: str, config: Json) -> str | None:
    """The field that a message of PEFT is about, if it names one."""
    return next((field for field in config if re.search(rf'\b{re.escape(field)}\b', message)), None)


def config_of(given: Json) -> PeftConfig:
    """PEFT's config of the given fields. Raises Fault for a method, field or value that is not
    supported here.
    """
    kind = given.get('peft_type')
    if kind not in METHODS:
        why = REFUSED_METHODS.get(
            str(kind), 'it is none of the methods that are compared with PEFT here'
        )
        raise Fault(
            f'peft_type {json.dumps(kind)} is not run: {why}', known_hint(METHODS), 'peft_type'
        )
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    known = [field.name for field in dataclasses.fields(config_class)]
    fields = [name for name in known if name not in REFUSED_FIELDS]
    for field, value in given.items():
        if field in REFUSED_FIELDS:
            raise Fault(f'{field} is not set here: {REFUSED_FIELDS[field]}', 'Leave it out.', field)
        if field not in fields:
            raise Fault(
                f'PEFT {peft.__version__} has no field "{field}" for {kind}',
                known_hint(fields),
                field,
            )
        if field == 'bias' and value != 'none':
            raise Fault(
                'biases are not trained beside it', 'Write bias: none, or leave it out.', field
            )
        if field == 'use_dora' and value:
            raise Fault(
                'DoRA is a form of `type: lora`', 'Write type: lora, use_dora: true.', field
            )
        if field.startswith('init') and value not in INITS:
            raise Fault(
                f'{field} {json.dumps(value)} needs the weights, data or a file to start from',
                'PiSSA and OLoRA are `init` of `type: lora`; else leave it out.',
                field,
            )
        if field.endswith('_config') and value:
            raise Fault(f'{field} is of a start that needs data or weights', 'Leave it out.', field)
    try:
        config: PeftConfig = config_class(**{k: v for k, v in given.items() if k != 'peft_type'})
    except Exception as error:
        raise Fault(peft_message(error), field=field_named_in(str(error), given)) from None
    return config


def known_hint(names: Any) -> str:
    return f'Known: {", ".join(sorted(names))}.'


def weightless(kind: str, folder: Path) -> nn.Module:
    """A model of the class `kind` on the processor. Its parameters are zeros, without memory."""
    network = without_values(getattr(transformers, kind), read_config(folder, None, 0.0))
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            zeros = torch.zeros(()).expand(parameter.shape)
            module.register_parameter(name, nn.Parameter(zeros, requires_grad=False))
    return network


def describe_adapter(network: nn.Module, wrapped: Any, request: Json) -> Json:
    """The WireAdapter of src/torch/protocol.ts. Writes the adapter's values to the request's file
    `out`, unless that is None. Raises Fault if PEFT's file would not hold exactly what is trained.
    """
    state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    head = tuple(f'{module}.' for module in request['head'])
    found = {name.removeprefix(PREFIX): value for name, value in state.items()}
    values = {name: value for name, value in found.items() if not name.startswith(head)}
    trained = {
        wire
        for name, p in network.named_parameters()
        if p.requires_grad and (wire := wire_name(name)) and not wire.startswith(head)
    }
    if set(values) != trained or any(v.dtype != torch.float32 for v in values.values()):
        odd = min(set(values) ^ trained, default='')
        raise Fault(f'the file of this adapter does not hold what it trains ({odd})')
    if request['out'] is not None:
        write(values, request['out'])
    config = wrapped.peft_config['default'].to_dict()
    return {
        'parameters': [{'name': n, 'shape': list(v.shape)} for n, v in values.items()],
        'config': {
            key: sorted(value) if isinstance(value, set) else value for key, value in config.items()
        },
    }
