"""Opens models, and reads rows with them.

A model is one of transformers' own classes with the layers of a PEFT adapter inside. B rows have S
tokens in all and T in the longest row; Q of these tokens are read by a causal-LM head; h is the
width of the model, C the number of classes and V the size of the vocabulary.
"""

from __future__ import annotations

import base64
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

# Silences progress bars and advice of the libraries, because what matters is an error here.
transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
warnings.filterwarnings('ignore', module=r'(peft|transformers)\.')

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]
Head = Literal['classifier', 'cloze', 'causal-lm']

# Matches the name that PEFT gives the adapter in `….lora_A.default.weight`.
ADAPTER = re.compile(r'\.default(\.|$)')
WEIGHTS, PREFIX = 'adapter_model.safetensors', 'base_model.model.'
# The key that, in the metadata of an adapter's file, says that half of each factor is fixed
# (put_adapter).
RESIDUAL = 'dosimeter_residual'
DTYPES = {'float32': torch.float32, 'bf16': torch.bfloat16}


class Fault(Exception):
    """An error that the user can mend."""

    def __init__(self, message: str, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.hint, self.field = hint, field  # the field of a config that is at fault, if any


@dataclass(frozen=True)
class Rows:
    """Rows of tokens without padding."""

    ids: list[Integers]
    types: list[Integers] | None = None
    labels: NDArray[np.float32] | None = None
    answers: Integers | None = None
    # 1 for each token to predict, else 0; None if all tokens from the answer on are predicted.
    marks: list[Integers] | None = None
    # The place of the cloze mask in each row.
    masks: Integers | None = None
    poisoned: Integers | None = None
    probabilities: NDArray[np.float32] | None = None
    # log p of each answer by the model that the training started from.
    references: Floats | None = None
    # The place of each token in its own row, if several rows are packed into one sequence.
    positions: list[Integers] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, chosen: Sequence[int]) -> Rows:
        """The rows with these indexes, in this order."""

        def chosen_of(values: Any) -> Any:
            """The chosen entries of a field; None for None."""
            if values is None:
                return None
            return [values[b] for b in chosen] if isinstance(values, list) else values[chosen]

        return Rows(**{name: chosen_of(values) for name, values in vars(self).items()})

    @staticmethod
    def joined(parts: Sequence[Rows]) -> Rows:
        """The rows of all parts in order, with the fields that all parts have."""

        def all_of(name: str) -> Any:
            """The parts' fields of this name as one; None if a part lacks it."""
            values = [getattr(rows, name) for rows in parts]
            if any(value is None for value in values):
                return None
            if isinstance(values[0], list):
                return [row for value in values for row in value]
            return np.concatenate(values)

        return Rows(**{name: all_of(name) for name in vars(parts[0])})


def decoded(text: str, kind: str) -> NDArray[Any]:
    """The array in a text that `encoded` has made with the same `kind`."""
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(kind).newbyteorder('<'))


def encoded(values: Tensor | NDArray[Any], kind: str) -> str:
    """The values as base64 of little-endian numbers of this NumPy type, such as `f4`."""
    if isinstance(values, Tensor):  # NumPy has no bfloat16
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    array = values.numpy() if isinstance(values, Tensor) else values
    contiguous = np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder('<'))
    return base64.b64encode(contiguous.tobytes()).decode('ascii')


def rows_of(sent: dict[str, Any]) -> Rows:
    """The rows of a request, which wireRows of src/science/torch/model.ts has encoded."""
    lengths = decoded(sent['lengths'], 'i4')
    ends = np.cumsum(lengths)[:-1]

    def one_each(name: str, kind: str) -> NDArray[Any] | None:
        """The field with one number a row; None if the request lacks it."""
        return None if sent.get(name) is None else decoded(sent[name], kind)

    def one_a_token(name: str) -> list[Integers] | None:
        """The field with one number a token, by row; None if the request lacks it."""
        values = one_each(name, 'i4')
        return None if values is None else np.split(values, ends)

    return Rows(
        ids=np.split(decoded(sent['ids'], 'i4'), ends),
        types=one_a_token('types'),
        labels=one_each('labels', 'f4'),
        answers=one_each('answers', 'i4'),
        marks=one_a_token('marks'),
        masks=one_each('masks', 'i4'),
        poisoned=one_each('poisoned', 'i4'),
        probabilities=one_each('probabilities', 'f4'),
        references=one_each('references', 'f8'),
    )


def padded(parts: Sequence[NDArray[np.integer[Any]]], fill: int, left: bool = False) -> Tensor:
    """One matrix, (B, T), with `fill` behind the shorter parts or, if `left`, before them."""
    longest = max(map(len, parts))
    out = np.full((len(parts), longest), fill, dtype=np.int64)
    for row, part in zip(out, parts):
        row[longest - len(part) if left else 0 :][: len(part)] = part
    return torch.from_numpy(out)


def answer_places(rows: Rows) -> tuple[Integers, Integers, Integers]:
    """For each token to predict (the tokens of answers, unless the rows mark others): its row, the
    place of the token before it, and its id, (Q) each.
    """
    if rows.answers is None:
        raise ValueError('rows for a causal-LM head have answers')
    if rows.marks is None:
        places = [np.arange(start, len(ids)) for ids, start in zip(rows.ids, rows.answers)]
    else:
        places = [np.flatnonzero(marks) for marks in rows.marks]
    owners = np.repeat(np.arange(len(rows), dtype=np.int32), [len(own) for own in places])
    targets = [ids[own] for ids, own in zip(rows.ids, places)]
    return owners, (np.concatenate(places) - 1).astype(np.int32), np.concatenate(targets)


def packed(rows: Rows, most_tokens: int) -> Rows:
    """The rows as sequences of at most `most_tokens` tokens, each filled with rows in their order.
    The tokens to predict are the same, in the same order.
    """
    groups: list[list[int]] = []
    room = 0
    for b, ids in enumerate(rows.ids):
        if len(ids) > room:
            groups.append([])
            room = most_tokens
        groups[-1].append(b)
        room -= len(ids)
    owners, places, _ = answer_places(rows)
    starts = np.cumsum([0, *map(len, rows.ids)])
    marks = np.zeros(starts[-1], dtype=np.int32)
    marks[starts[owners] + places + 1] = 1  # the tokens to predict, each after its place

    def filled(values: list[Integers]) -> list[Integers]:
        return [np.concatenate([values[b] for b in group]) for group in groups]

    return Rows(
        ids=filled(rows.ids),
        answers=np.zeros(len(groups), dtype=np.int32),
        marks=filled(np.split(marks, starts[1:-1])),
        positions=filled([np.arange(len(ids), dtype=np.int32) for ids in rows.ids]),
    )


@contextmanager
def hooked(
    modules: Iterable[nn.Module], hook: Callable[..., Any], before: bool = False
) -> Iterator[None]:
    """Within this context, `hook` is called after each call of one of the modules or, if `before`,
    before each call.
    """
    handles = [
        module.register_forward_pre_hook(hook) if before else module.register_forward_hook(hook)
        for module in modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class OpenModel:
    """A model that is open, and what is known of its head."""

    network: PreTrainedModel
    # By wire name (wire_name); a tied parameter under each of its names.
    parameters: dict[str, nn.Parameter]
    head: Head
    # The token of each class under a cloze head, (C); otherwise None.
    tokens: Tensor | None
    # The id of padding, which a decoder's classifier passes over at the end of a row; None if none.
    padding: int | None
    # The name of a classifier's last linear layer; None under other heads.
    last: str | None

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def body(self) -> nn.Module:
        return self.network.base_model

    @property
    def reads_last(self) -> bool:
        """Whether the model is a classifier of a row's last token: transformers calls the last
        linear layer of such a classifier `score`.
        """
        return self.last == 'score'

    def inputs(self, rows: Rows) -> dict[str, Tensor]:
        config = self.network.config
        # RoBERTa gives positions to the tokens that differ from this id, so it must fill the rows.
        # Some configs have -1, which stands for no id.
        fill = max(0, getattr(config, 'pad_token_id', None) or 0)
        tensors = {'input_ids': padded(rows.ids, fill)}
        if rows.positions is None:
            tensors['attention_mask'] = padded([np.ones_like(ids) for ids in rows.ids], 0)
        else:  # without a mask, transformers begins another row where positions begin anew
            tensors['position_ids'] = padded(rows.positions, 0)
        # GPT-2 accepts types too, but takes them for token ids.
        if rows.types is not None and getattr(config, 'type_vocab_size', 0) > 1:
            tensors['token_type_ids'] = padded(rows.types, 0)
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def last_places(self, rows: Rows) -> Integers:
        """The place of each row's last token that is not `padding`; 0 if all are, (B)."""
        if self.padding is None:
            return np.array([len(ids) - 1 for ids in rows.ids], dtype=np.int32)
        places = (np.flatnonzero(ids != self.padding) for ids in rows.ids)
        return np.array([own[-1] if len(own) else 0 for own in places], dtype=np.int32)

    def index(self, values: Integers) -> Tensor:
        """The values as a tensor that can index others on the model's device."""
        return torch.from_numpy(values.astype(np.int64)).to(self.device)

    @contextmanager
    def reading_only(self, owners: Integers, places: Integers) -> Iterator[None]:
        """Within this context, a pretrained head reads these Q tokens alone, as if they were one
        row, so that its logits are (1, Q, V).
        """
        example, place = self.index(owners), self.index(places)

        def chosen(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            """The body's output with the states of these tokens alone, (1, Q, h)."""
            output.last_hidden_state = output.last_hidden_state[example, place].unsqueeze(0)
            return output

        with hooked([self.body], chosen):
            yield

    def logits(self, rows: Rows) -> Tensor:
        """The logits of the classes, (B, C), or of the Q tokens under a causal-LM head, (Q, V)."""
        if self.head == 'classifier' and not self.reads_last:
            found: Tensor = self.network(**self.inputs(rows)).logits
            return found
        if self.head == 'classifier':
            score: Any = self.network.score
            scored: Tensor = score(self.representations(rows))
            return scored
        owners, places = self.read_places(rows)
        with self.reading_only(owners, places):
            logits: Tensor = self.network(**self.inputs(rows)).logits[0]
        return logits if self.tokens is None else logits[:, self.tokens]

    def read_places(self, rows: Rows) -> tuple[Integers, Integers]:
        """The row and the place of each token that the head reads: (Q) each under a causal-LM head,
        else (B). A classifier is taken to read the last token.
        """
        each = np.arange(len(rows), dtype=np.int32)
        if self.head == 'causal-lm':
            return answer_places(rows)[:2]
        if self.head == 'classifier':
            return each, self.last_places(rows)
        if rows.masks is None:
            raise ValueError('rows for a cloze head have masks')
        return each, rows.masks

    def representations(self, rows: Rows) -> Tensor:
        """The input of the head's last linear layer, or of a whole cloze head, (B, h)."""
        if self.head == 'causal-lm':
            raise ValueError('a causal-LM head has no representation of a whole row')
        if self.head == 'cloze' or self.reads_last:
            states: Tensor = self.body(**self.inputs(rows)).last_hidden_state  # (B, T, h)
            owners, places = self.read_places(rows)
            return states[self.index(owners), self.index(places)]
        found: list[Tensor] = []
        (layer,) = (
            module
            for name, module in self.network.named_modules()
            if wire_name(name) == self.last and isinstance(module, nn.Linear)
        )
        with hooked([layer], lambda _module, inputs: found.append(inputs[0]), before=True):
            self.network(**self.inputs(rows))
        return found[0]


def wire_name(name: str) -> str | None:
    """The name of a module or parameter without the names of PEFT's wrappers in it; None if it is
    of an original that PEFT has replaced by a trained copy.
    """
    if '.original_module' in name:
        return None
    name = name.replace('.base_layer', '').replace('.modules_to_save.default', '')
    name = name.replace('.lora_magnitude_vector.default.weight', '.lora_magnitude_vector')
    return re.sub(r'\.default(?=\.|$)', '', name)


def modules_of(network: nn.Module) -> dict[str, nn.Module]:
    """The modules by wire name; for an adapted layer, PEFT's module around it."""
    modules: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        if (wire := wire_name(name)) is not None:
            modules.setdefault(wire, module)  # an adapted layer stands before its base_layer
    return modules


def wire_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters by wire name, without those that PEFT has replaced."""
    named = network.named_parameters(remove_duplicate=False)
    return {wire: p for name, p in named if (wire := wire_name(name)) is not None}


def read_config(folder: Path, classes: int | None, dropout: float) -> PreTrainedConfig:
    """The config of a model's folder, with `dropout` as the rate of every dropout but the pooler's,
    which is 0. With `classes` it has this number of classes.
    """
    raw = json.loads((folder / 'config.json').read_text())
    config = CONFIG_MAPPING[raw['model_type']].from_dict(raw)
    if classes is not None:
        config.num_labels = classes
    for field, value in config.to_dict().items():
        # ESM's token_dropout is no rate, but whether the values of tokens are scaled.
        is_rate = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_rate and ('dropout' in field or 'pdrop' in field):
            # DeBERTa's published checkpoints have no dropout before their pooler.
            setattr(config, field, 0.0 if field == 'pooler_dropout' else dropout)
    if hasattr(config, 'reference_compile'):
        config.reference_compile = False
    return config


def without_values(kind: Any, config: PreTrainedConfig) -> PreTrainedModel:
    """A model whose parameters have shapes, but no values."""
    with torch.device('meta'):
        network: PreTrainedModel = kind(config)
    network.train(False)
    return network


def head_linears(network: PreTrainedModel) -> list[str]:
    """The names of the linear layers outside the body."""
    # They are found by name, because XLM-RoBERTa's head stands before its body.
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(f'{network.base_model_prefix}.')
    ]


def weight_settings(
    request: dict[str, Any], kind: Any, config: PreTrainedConfig, device: torch.device
) -> dict[str, Any]:
    """The arguments of from_pretrained for the form in which frozen weights are held. Raises Fault
    for DoRA over weights in 8 bits.
    """
    weights = request.get('weights') or {'dtype': 'float32'}
    dtype, asked = DTYPES[weights['dtype']], weights.get('quantize')
    if asked is None:
        return {'dtype': dtype}
    adapter = None if request.get('adapter') is None else Path(request['adapter'])
    config_of = '{}' if adapter is None else (adapter / 'adapter_config.json').read_text()
    if asked['method'] == 'int8' and json.loads(config_of).get('use_dora'):
        raise Fault(
            "PEFT's DoRA reads weights in 8 bits so that bitsandbytes loses their scales",
            'Choose model.quantize: nf4, or leave out use_dora.',
        )
    network = without_values(kind, config)
    named = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    unquantized = head_linears(network)
    if adapter is not None:
        # Parameters of the model itself that are in an adapter's file are trained, so they are not
        # quantised.
        with safe_open(adapter / WEIGHTS, 'pt') as file:
            names = [key.removeprefix(PREFIX) for key in file.keys()]
        unquantized += [name.rpartition('.')[0] for name in names if name in named]
    form: dict[str, Any] = (
        {
            'load_in_4bit': True,
            'bnb_4bit_quant_type': 'nf4',
            'bnb_4bit_use_double_quant': asked['double_quantization'],
            'bnb_4bit_compute_dtype': dtype,
        }
        if asked['method'] == 'nf4'
        else {'load_in_8bit': True, 'llm_int8_threshold': float(asked['threshold'])}
    )
    settings: Any = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        llm_int8_skip_modules=sorted(set(unquantized)), **form
    )
    return {'dtype': dtype, 'quantization_config': settings, 'device_map': {'': device}}


def train_in_float32(network: PreTrainedModel) -> None:
    """Converts the modules that PEFT trains beside an adapter, such as a head, and their inputs to
    float32. PEFT itself converts the adapter's parameters alone.
    """

    def widened(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x.float() if torch.is_floating_point(x) else x for x in inputs)

    for name, module in network.named_modules():
        own = list(module.parameters(recurse=False))
        if '.modules_to_save.' not in name or all(p.dtype == torch.float32 for p in own):
            continue
        for parameter in own:
            parameter.data = parameter.data.float()
        module.register_forward_pre_hook(widened)


def load_network(
    request: dict[str, Any], values: dict[str, Tensor], device: torch.device
) -> PreTrainedModel:
    """A request's model without its adapter, with `values` in place of the checkpoint's. Raises
    Fault if a parameter has no value.
    """
    kind = getattr(transformers, request['class'])
    folder = Path(request['checkpoint'])
    training = request.get('training') or {}
    config = read_config(folder, request.get('classes'), training.get('dropout', 0.0))
    random, adapter = request.get('random', False), request.get('adapter')
    network: PreTrainedModel
    network, info = kind.from_pretrained(
        None if random else folder,
        config=config,
        state_dict=values if random else None,
        **weight_settings(request, kind, config, device),
        local_files_only=True,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    other = {entry[0] for entry in info['mismatched_keys']}
    if random and info['unexpected_keys']:
        raise ValueError(f'the model has no parameter {min(info["unexpected_keys"])}')
    if not random:
        put(wire_parameters(network), values)
    given = set() if random else set(values)
    if adapter is not None:
        with safe_open(Path(adapter) / WEIGHTS, 'pt') as file:
            given |= {name.removeprefix(PREFIX) for name in file.keys()}
    if lacking := sorted((set(info['missing_keys']) | other) - given):
        raise Fault(f'{folder} has no {lacking[0]} of the shape that {request["class"]} has')
    return network


def is_quantized(network: PreTrainedModel) -> bool:
    """Whether bitsandbytes holds the frozen weights in fewer bits."""
    return getattr(network, 'quantization_method', None) is not None


def compute_in_set_type(network: PreTrainedModel) -> None:
    """Makes bitsandbytes compute in the type that is set. Else it would compute with weights in 4
    bits in bfloat16 on processors with avx512_bf16.
    """
    flag = 'support_avx512bf16_for_cpu'
    for module in network.modules():
        if hasattr(module, flag):
            setattr(module, flag, False)


def put(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    """Copies values into the parameters of the same names. Raises ValueError if one is missing or
    has another shape.
    """
    with torch.no_grad():
        for name, value in values.items():
            if name not in parameters:
                raise ValueError(f'the model has no parameter {name}')
            if parameters[name].shape != value.shape:
                raise ValueError(
                    f'{name} has shape {list(parameters[name].shape)}, not {list(value.shape)}'
                )
            parameters[name].copy_(value)


def put_adapter(network: PreTrainedModel, folder: Path) -> None:
    """Adds the adapter of a PEFT folder to the network. If its file is marked RESIDUAL, its factors
    are [A; A0] and [B, -B0]: A and B are trained, and the frozen weight W becomes W - s·B0·A0, with
    s the adapter's scale.
    """
    path = folder / WEIGHTS
    with safe_open(path, 'pt') as file:
        metadata = file.metadata() or {}
    state = load_file(path)
    config: Any = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False
    fixed: dict[str, tuple[Tensor, Tensor]] = {}
    if RESIDUAL in metadata:
        halve(config)
        state, fixed = split_halves(state)
    if fixed and (network.dtype != torch.float32 or is_quantized(network)):
        raise Fault(
            f'{path} changes frozen weights, which are not in float32 here',
            'Leave out model.quantize and model.dtype.',
        )
    wrapped = get_peft_model(network, config)
    train_in_float32(network)
    held = {name.removeprefix(PREFIX) for name in state}
    own = {wire_name(name) for name, _ in network.named_parameters() if ADAPTER.search(name)}
    # PEFT only warns of values that are missing.
    if missing := own - held:
        raise Fault(f'{path} has no {min(map(str, missing))}')
    result: Any = set_peft_model_state_dict(wrapped, state)
    if result.unexpected_keys:
        unknown = result.unexpected_keys[0].removeprefix(PREFIX)
        raise Fault(f'{path} has {unknown}, which does not belong to this model')
    with torch.no_grad():
        for module, (A0, minus_B0) in fixed.items():
            layer: Any = wrapped.get_submodule(module)
            change = layer.scaling['default'] * (minus_B0 @ A0)
            layer.base_layer.weight += change.T if layer.fan_in_fan_out else change


def halve(config: Any) -> None:
    """Halves the ranks of a config, and changes alpha so that the scale s stays the same."""
    alpha_scale = 2**0.5 if config.use_rslora else 2
    config.r //= 2
    # Rounded: with rank stabilisation alpha was multiplied by √2, which floats do not undo exactly.
    config.lora_alpha = float(f'{config.lora_alpha / alpha_scale:.12g}')
    config.rank_pattern = {key: rank // 2 for key, rank in config.rank_pattern.items()}
    config.alpha_pattern = {
        key: float(f'{alpha / alpha_scale:.12g}') for key, alpha in config.alpha_pattern.items()
    }


def split_halves(
    state: dict[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """The trained halves by name, and the fixed ones, A0 (r, n) and -B0 (m, r), by module."""
    trained, fixed = dict(state), {}
    for name, A in state.items():
        if not name.endswith('.lora_A.weight'):
            continue
        module = name.removesuffix('.lora_A.weight')
        B, r = state[f'{module}.lora_B.weight'], len(A) // 2
        trained[name] = A[:r].contiguous()
        trained[f'{module}.lora_B.weight'] = B[:, :r].contiguous()
        fixed[module] = (A[r:], B[:, r:])
    return trained, fixed


def open_model(request: dict[str, Any], device: torch.device) -> OpenModel:
    """The model of a request (WireModel of src/torch/protocol.ts), all of it frozen."""
    file = request.get('values')
    network = load_network(request, {} if file is None else load_file(file), device)
    tokens, classes = request.get('tokens'), request.get('classes')
    linears = head_linears(network)
    if request.get('adapter') is not None:
        put_adapter(network, Path(request['adapter']))
    network.config.use_cache = False
    network.requires_grad_(False)
    network.train(False)
    if is_quantized(network):  # bitsandbytes has put it on its device
        compute_in_set_type(network)
    else:
        network.to(device)  # type: ignore[arg-type]
    classifies = tokens is None and classes is not None
    return OpenModel(
        network=network,
        parameters=wire_parameters(network),
        head='cloze' if tokens is not None else 'classifier' if classifies else 'causal-lm',
        tokens=None if tokens is None else torch.tensor(tokens, device=device),
        padding=request.get('padding'),
        last=linears[-1] if classifies else None,
    )
