"""Describes models of transformers that no family here covers, and reads rows with them.

What is known of such a model is what its class and a forward pass show. A description is made of
the model without values; once the values are there, `checked_model` finds out whether padding may
stand behind a row, and whether the head reads what it is taken to read.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto as auto
from transformers.pytorch_utils import Conv1D

from model import (
    Fault,
    OpenModel,
    Rows,
    hooked,
    is_quantized,
    packed,
    read_config,
    wire_name,
    without_values,
)
from prediction import Sampling, choose

Json = dict[str, Any]

# For each head, what such a model is called, and transformers' table of its classes.
HEADS: dict[str, tuple[str, Any]] = {
    'classifier': ('sequence classifier', auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING),
    'cloze': ('masked language model', auto.MODEL_FOR_MASKED_LM_MAPPING),
    'causal-lm': ('causal language model', auto.MODEL_FOR_CAUSAL_LM_MAPPING),
}
# Matches the class of a mixture of experts' module, such as MixtralExperts or Qwen2MoeMLP.
EXPERTS = re.compile(r'Experts|Moe|MoE|MixtureOf')
# The types of models whose layer `out_proj` PEFT refuses to adapt, since a fused step reads the
# layer's weight and does not call the layer.
NOT_OUT_PROJ = {'falcon_h1', 'mamba', 'mamba2', 'falcon_mamba', 'nemotron_h'}
# Fields of config.json that drop whole layers or paths in training, which is not supported.
DROPPED = ('layerdrop', 'encoder_layerdrop', 'decoder_layerdrop', 'drop_path_rate')


def describe(folder: Path) -> Json:
    """The model of a config.json under each head (WireDescription of src/torch/protocol.ts). Raises
    Fault for a model that can't be used under any head.
    """
    raw = json.loads((folder / 'config.json').read_text())
    kind = raw.get('model_type')
    release = f'transformers {transformers.__version__}'
    if kind not in CONFIG_MAPPING:
        raise Fault(
            f'{release} has no model_type {json.dumps(kind)}'
            + (", and code from a model's folder is never run" if 'auto_map' in raw else ''),
            'Name a model that transformers has itself, or install a release that has this one.',
        )
    try:
        config = read_config(folder, None, 0.0)
    except Exception as error:
        raise Fault(f'{release} does not read config.json: {str(error).splitlines()[0]}') from None
    if getattr(config, 'is_encoder_decoder', False):
        raise Fault(
            f'a "{kind}" model is an encoder with a decoder, which is trained on pairs of texts',
            'Name an encoder or a decoder.',
        )
    if getattr(config, 'sub_configs', None):
        raise Fault(f'a "{kind}" model is made of several models', 'Name a model of text alone.')
    for field in DROPPED:
        if getattr(config, field, None):
            raise Fault(
                f'config.json: {field} {getattr(config, field)} drops whole layers in training',
                f'Write "{field}": 0 in config.json.',
            )
    return {
        'model_type': kind,
        'release': release,
        'heads': {head: under_head(config, head, folder) for head in HEADS},
    }


def class_of(config: PreTrainedConfig, head: str) -> Any:
    """Transformers' class of the model under a head; None if it has none."""
    found = HEADS[head][1].get(type(config), None)
    return found[0] if isinstance(found, tuple) else found


def under_head(config: PreTrainedConfig, head: str, folder: Path) -> Json:
    """The model's description under a head, or a fault that says why it can't be used under it."""
    kind, what = class_of(config, head), HEADS[head][0]
    # An encoder's class for a causal LM, such as BERT's, sees the tokens that it is to predict.
    encodes = class_of(config, 'cloze') is not None and not getattr(config, 'is_decoder', False)
    try:
        if kind is None:
            raise Fault(f'transformers {transformers.__version__} has no {what} for this model')
        if head == 'causal-lm' and encodes:
            raise Fault(f'{kind.__name__} is an encoder here: it sees the tokens that it predicts')
        return describe_class(kind, head, folder)
    except Fault as error:
        return {'fault': str(error)}


def describe_class(kind: Any, head: str, folder: Path) -> Json:
    """A class's names, parameters and layers (WireArchitecture of src/torch/protocol.ts). Raises
    Fault if the class has a form that can't be used.
    """
    name = kind.__name__
    config = read_config(folder, 3, 0.0)
    network = without_values(kind, config)
    prefix = network.base_model_prefix
    if not prefix or not hasattr(network, prefix):
        raise Fault(f'{name} has no body apart from its head')
    if 'input_ids' not in inspect.signature(network.forward).parameters:
        raise Fault(f'{name} reads no tokens')
    if any(EXPERTS.search(type(module).__name__) for module in network.modules()):
        raise Fault(f'{name} is a mixture of experts')
    named = dict(network.named_parameters(remove_duplicate=False))
    if buffers := [key for key in network.state_dict() if key not in named]:
        raise Fault(f'{name} has values that are no parameters ({buffers[0]})')
    aliases: dict[int, list[str]] = {}
    for key, parameter in named.items():
        aliases.setdefault(id(parameter), []).append(key)
    # A size that differs between a model of 3 classes and one of 2 is the number of classes.
    other = read_config(folder, 2, 0.0)
    is_classifier = head == 'classifier'
    of_two = dict(without_values(kind, other).named_parameters()) if is_classifier else named
    owners = {id(p): m for m in network.modules() for p in m.parameters(recurse=False)}
    parameters = [
        {
            'name': key,
            'shape': [n if n == m else None for n, m in zip(p.shape, of_two[key].shape)],
            'aliases': aliases[id(p)][1:],
            'transposed': isinstance(owners[id(p)], Conv1D) and p.dim() == 2,
            'scale': is_norm(owners[id(p)]) and key.endswith('.weight'),
        }
        for key, p in network.named_parameters()
    ]
    outer = [
        child
        for child, module in network.named_children()
        if child != prefix and any(True for _ in module.parameters())
    ]
    untied = {names[0] for names in aliases.values()}
    linears = linears_of(network, prefix, untied)
    if is_classifier and not (linears and linears[-1]['name'].split('.')[0] in outer):
        raise Fault(f'{name} ends in no linear layer')
    return {
        'class': name,
        'prefix': prefix,
        'outer': outer,
        'parameters': parameters,
        'linears': [
            {**layer, 'out': None} if is_classifier and layer is linears[-1] else layer
            for layer in linears
        ],
        'vectors': vectors_of(network, untied, {layer['name'] for layer in linears}),
        'optional': optional_of(config, head, named, prefix),
        'vocabulary': vocabulary_size(network),
        'positions': positions_of(network),
        'range': next(
            (value for f in ('initializer_range', 'init_std') if (value := getattr(config, f, 0))),
            0.02,
        ),
    }


def vocabulary_size(network: PreTrainedModel) -> int:
    table: Any = network.get_input_embeddings()
    return len(table.weight)


def is_norm(module: nn.Module) -> bool:
    """Whether the module's class is called a norm and its weight is a vector."""
    weight = getattr(module, 'weight', None)
    return 'norm' in type(module).__name__.lower() and weight is not None and weight.dim() == 1


def linears_of(network: PreTrainedModel, prefix: str, untied: set[str]) -> list[Json]:
    """The linear layers that a forward pass calls, in its order, the head's last. `untied` has the
    first name of each parameter, so a layer whose weight is tied to another is not among them.
    """
    layers: dict[str, Any] = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and f'{name}.weight' in untied
    }
    order = called_layers(network, layers)
    inside = [name for name in order if name.startswith(f'{prefix}.')]
    out_proj = getattr(network.config, 'model_type', None) not in NOT_OUT_PROJ
    return [
        {
            'name': name,
            'in': layers[name].weight.shape[0 if isinstance(layers[name], Conv1D) else 1],
            'out': layers[name].weight.shape[1 if isinstance(layers[name], Conv1D) else 0],
            'bias': layers[name].bias is not None,
            'transposed': isinstance(layers[name], Conv1D),
            'adaptable': name in inside and (out_proj or not name.endswith('.out_proj')),
        }
        for name in [*inside, *(name for name in order if name not in inside)]
    ]


def called_layers(network: PreTrainedModel, layers: dict[str, nn.Module]) -> list[str]:
    """The names of the layers that a forward pass calls, in the order of the calls. The names of
    all layers if the pass fails, since some models need values. A layer that is not called, because
    only its weight is read (Mamba's dt_proj), can't be adapted.
    """
    names = {module: name for name, module in layers.items()}
    seen: dict[str, None] = {}
    try:
        with torch.no_grad(), hooked(names, lambda module, *_: seen.setdefault(names[module])):
            network(input_ids=torch.zeros(1, 4, dtype=torch.long, device='meta'))
    except Exception:  # a model that needs values may fail in any way
        return list(layers)
    return list(seen)


def vectors_of(network: PreTrainedModel, untied: set[str], linears: set[str]) -> list[Json]:
    """The norms, and other modules with a bias, but no linear layers."""
    return [
        {
            'name': name,
            'size': len(module.weight if is_norm(module) else module.bias),
            'bias': f'{name}.bias' in untied,
            'norm': is_norm(module),
        }
        for name, module in network.named_modules()
        if name not in linears and (is_norm(module) or f'{name}.bias' in untied)
    ]


def optional_of(
    config: PreTrainedConfig, head: str, named: dict[str, nn.Parameter], prefix: str
) -> list[str]:
    """Names of the body's parameters that a checkpoint may lack: those that the classifier has and
    the language model of the same config lacks, such as a pooler's. Empty under other heads.
    """
    kind = class_of(config, 'cloze') or class_of(config, 'causal-lm')
    if head != 'classifier' or kind is None:
        return []
    held = dict(without_values(kind, config).named_parameters(remove_duplicate=False))
    return [name for name in named if name.startswith(f'{prefix}.') and name not in held]


def positions_of(network: PreTrainedModel) -> int | None:
    """The most tokens that a row may have; None if nothing limits their number."""
    for name, module in network.named_modules():
        if not isinstance(module, nn.Embedding) or not name.endswith('position_embeddings'):
            continue
        # RoBERTa and models like it number positions from padding_idx + 1.
        return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    config = network.config
    fields = ('max_position_embeddings', 'n_positions', 'n_ctx', 'max_seq_len', 'seq_length')
    values = [value for f in fields if isinstance(value := getattr(config, f, None), int)]
    return values[0] if values and values[0] > 0 else None


@dataclass
class AnyModel(OpenModel):
    """A model of a class for which the TypeScript engine has no family (WireModel.described)."""

    # Whether tokens of padding behind a row leave its outputs as they are.
    pads: bool = True

    def inputs(self, rows: Rows) -> dict[str, Tensor]:
        accepted = inspect.signature(self.network.forward).parameters
        return {name: v for name, v in super().inputs(rows).items() if name in accepted}

    def logits(self, rows: Rows) -> Tensor:
        """As OpenModel.logits; rows of different lengths are read apart if need be."""
        return self.read_apart(rows, self.logits_together)

    def representations(self, rows: Rows) -> Tensor:
        """As OpenModel.representations; rows of different lengths are read apart if need be."""
        return self.read_apart(rows, super().representations)

    def read_apart(self, rows: Rows, read: Any) -> Tensor:
        """What `read` returns for the rows, in their order. It is given all rows at once or, if
        padding would change outputs, the rows of each length apart.
        """
        parts = [list(range(len(rows)))] if self.pads else by_length(rows)
        if len(parts) == 1:
            whole: Tensor = read(rows)
            return whole
        found: dict[int, Tensor] = {}
        for part in parts:
            alike = rows.of(part)
            owners, _ = self.read_places(alike)
            values = read(alike).split(np.bincount(owners, minlength=len(alike)).tolist())
            found.update(zip(part, values))
        return torch.cat([found[b] for b in range(len(rows))])

    def logits_together(self, rows: Rows) -> Tensor:
        if self.head == 'classifier':
            return super().logits(rows)
        owners, places = self.read_places(rows)
        inputs: dict[str, Any] = dict(self.inputs(rows))
        if 'logits_to_keep' in inspect.signature(self.network.forward).parameters:
            kept = np.unique(places)
            inputs['logits_to_keep'] = self.index(kept)
            places = np.searchsorted(kept, places).astype(np.int32)
        found: Tensor = self.network(**inputs).logits  # (B, T, V), T only the places kept, if any
        logits = found[self.index(owners), self.index(places)]
        return logits if self.tokens is None else logits[:, self.tokens]


def by_length(rows: Rows) -> list[list[int]]:
    """For each length that rows have, the shortest first, the indexes of its rows."""
    lengths = np.array([len(ids) for ids in rows.ids])
    return [np.flatnonzero(lengths == length).tolist() for length in np.unique(lengths)]


def checked_model(model: OpenModel) -> AnyModel:
    """The model as AnyModel. Finds out with trial rows whether padding changes outputs. Raises
    Fault if the class reads rows in another way than AnyModel.
    """
    own = AnyModel(**vars(model))
    short, long = trial_row(own, 3), trial_row(own, 6)
    both = Rows.joined([short, long])
    with torch.no_grad():
        states = [last_states(own, rows)[0] for rows in (short, long)]
        padded = last_states(own, both)
        own.pads = (
            is_close(own, padded[0, :3], states[0])
            and is_close(own, padded[1], states[1])
            and is_close(
                own,
                trial_logits(own, both),
                torch.cat([trial_logits(own, rows) for rows in (short, long)]),
            )
        )
        check_layers(own, long)
        check_reading(own, long)
        if own.head == 'causal-lm' or (own.head == 'classifier' and own.reads_last):
            other = Rows(**{**vars(long), 'ids': [[*long.ids[0][:-1], *short.ids[0][:1]]]})
            if not is_close(own, last_states(own, other)[0, :-1], states[1][:-1]):
                raise Fault(f'{type(own.network).__name__} sees the tokens that it predicts')
    return own


def check_packing(model: OpenModel) -> None:
    """Raises Fault if rows that share a sequence are not read as they are one by one."""
    short, long = trial_row(model, 3), trial_row(model, 6)
    other = Rows(**{**vars(short), 'ids': [long.ids[0][:3]]})
    length = len(short.ids[0]) + len(long.ids[0])  # the first two rows fill a sequence
    with torch.no_grad():
        apart = model.logits(Rows.joined([short, long, long]))
        first, second = (
            model.logits(packed(Rows.joined([before, long, long]), length))
            for before in (short, other)
        )
    # The first row predicts two tokens, so the logits from 2 on are of the rows behind it. These
    # logits must be the same to the last bit, whichever row is the first. Under bitsandbytes they
    # need only be close, because all rows together decide which entries are left out of 8 bits.
    behind = (first[2:], second[2:])
    kept = is_close(model, *behind) if is_quantized(model.network) else torch.equal(*behind)
    if not kept or not is_close(model, first, apart):
        raise Fault(
            f'{type(model.network).__name__} does not keep rows apart that share a sequence',
            'Leave out train.packing.',
        )


def trial_logits(model: AnyModel, rows: Rows) -> Tensor:
    """The logits of trial rows. Raises Fault if the class refuses them."""
    try:
        return model.logits_together(rows)
    except ValueError as error:  # CTRL's classifier without a token of padding
        raise Fault(f'{type(model.network).__name__} does not read two rows: {error}') from None


def trial_row(model: OpenModel, length: int) -> Rows:
    """One row of `length` tokens, none of which is special; its answer begins at the second."""
    config = model.network.config
    named = (getattr(config, field, None) for field in ('pad_token_id', 'bos_token_id'))
    special = {*named, model.padding}
    size = vocabulary_size(model.network)
    row = np.array([i for i in range(size) if i not in special][-length:], dtype=np.int32)
    return Rows(
        ids=[row],
        types=[np.zeros_like(row)],
        answers=np.array([1], dtype=np.int32),
        masks=np.array([1], dtype=np.int32),
    )


def last_states(model: AnyModel, rows: Rows) -> Tensor:
    """The hidden states after the body's last layer, (B, T, h)."""
    found: Tensor = model.body(**model.inputs(rows))[0]  # (B, T, h)
    return found


def is_close(model: OpenModel, a: Tensor, b: Tensor) -> bool:
    """Whether a equals b but for rounding, relative to the largest entry of b."""
    bound = 1e-4 if a.dtype == torch.float32 else 5e-2
    return float((a - b).abs().max()) <= bound * float(b.abs().max())


def check_layers(model: AnyModel, rows: Rows) -> None:
    """Raises Fault if an adapted layer is not called: its adapter would silently change nothing."""
    layers: dict[str, Any] = {
        name: module
        for name, module in model.network.named_modules()
        if isinstance(module, BaseTunerLayer)
    }
    seen: set[nn.Module] = set()
    with hooked(layers.values(), lambda module, *_: seen.add(module)):
        model.network(**model.inputs(rows))
    if idle := [name for name, module in layers.items() if module not in seen]:
        raise Fault(
            f'the adapter of {wire_name(idle[0])} would change nothing: '
            f'{type(model.network).__name__} does not call this layer, but reads its weight',
            'Leave it out of the targets (adapter.exclude).',
        )


def check_reading(model: AnyModel, rows: Rows) -> None:
    """Raises Fault if `logits_together` gives other logits than the class itself."""
    whole: Tensor = model.network(**model.inputs(rows)).logits
    if model.head == 'classifier':
        expected = whole
    else:
        _, places = model.read_places(rows)
        expected = whole[0, model.index(places)]
        if model.tokens is not None:
            expected = expected[:, model.tokens]
    found = model.logits_together(rows)
    if found.shape != expected.shape or not is_close(model, found, expected):
        raise Fault(
            f'{type(model.network).__name__} reads its rows in a way of its own: the logits of '
            'its last hidden states are others'
        )


@torch.no_grad()
def generate(
    model: AnyModel,
    rows: Rows,
    max_new_tokens: int,
    stops: frozenset[int],
    sampling: Sampling | None,
) -> list[Json]:
    """Continues each prompt to a stop or `max_new_tokens`. Returns the `ids` of its new tokens
    without the stop, and whether it has `ended` at one. Rows of one length go together, so that
    none has padding on the left, over which a recurrent state would run. A row that has ended stays
    in its batch, because not every cache can drop rows.
    """
    network = model.network
    accepts = inspect.signature(network.forward).parameters
    only_last = {'logits_to_keep': 1} if 'logits_to_keep' in accepts else {}
    names = ('cache', 'past_key_values', 'cache_params')
    name = next((name for name in names if name in accepts), None)
    texts: list[Json] = [{'ids': [], 'ended': False} for _ in rows.ids]
    for part in by_length(rows):
        ids = model.index(np.stack([rows.ids[b] for b in part]))
        cache: Any = None
        for step in range(max_new_tokens):
            cached: Json = {} if name is None else {'use_cache': True, name: cache}
            output = network(input_ids=ids if cache is None else ids[:, -1:], **cached, **only_last)
            cache = None if name is None else output[name]
            going = [k for k, b in enumerate(part) if not texts[b]['ended']]
            live = [part[k] for k in going]
            chosen = choose(output.logits[going, -1].float(), live, step, sampling)
            ids = torch.cat([ids, ids[:, -1:]], 1)
            for k, b, token in zip(going, live, chosen):
                ids[k, -1] = token
                if token in stops:
                    texts[b]['ended'] = True
                else:
                    texts[b]['ids'].append(token)
            if all(texts[b]['ended'] for b in part):
                break
    return texts
