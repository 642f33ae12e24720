"""Trains several models in one step: those of LoRA over the same frozen weights.

The rows of all members, one member after another, pass the frozen layers together. What is trained
is each member's own: an adapted layer adds to a row what the factors of the row's member make of
it, and a trained layer of the head reads the row with the weights of the row's member. So the
gradient of the sum of the members' losses consists of the members' own gradients, and what is not
finite in one member reaches no other.

M members have B rows of T tokens in all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from model import ADAPTER, OpenModel, Rows, answer_places, wire_name
from training import Training, backward, held_mb, logits_of, loss_from, train, update

# How far a member's first gradients in a pack may be from the gradients that it has alone, relative
# to the norm of these. Rounding in float32 makes 1e-6; rows that attend to each other, or rows that
# a layer reads in another order, make much more.
NEAR, NEAR_BF16 = 1e-3, 1e-1

Steps = list[tuple[float, list[Rows]]]


class NoPack(Exception):
    """Says why models can't be trained in one step."""


def share_frozen(model: OpenModel, others: Iterable[OpenModel]) -> None:
    """Lets the model share the memory of those frozen values that another model holds with the same
    bits.
    """
    for other in others:
        if type(other.network) is not type(model.network):
            continue
        for name, parameter in frozen(model).items():
            theirs = other.parameters.get(name)
            if theirs is None or theirs.requires_grad or theirs.shape != parameter.shape:
                continue
            if theirs.dtype == parameter.dtype and torch.equal(theirs, parameter):
                parameter.data = theirs.data


def frozen(model: OpenModel) -> dict[str, nn.Parameter]:
    """The frozen parameters by wire name, without those of an adapter."""
    # named_parameters has PEFT's names, so the adapter's parameters are told by identity.
    named = model.network.named_parameters(remove_duplicate=False)
    adapter = {id(p) for n, p in named if ADAPTER.search(n)}
    own = model.parameters.items()
    return {n: p for n, p in own if not p.requires_grad and id(p) not in adapter}


@dataclass
class Layer:
    """A layer that differs between the members."""

    module: nn.Module
    # The same module in each member, in the members' order.
    own: list[Any]
    # Whether the layer is in the body, and so reads whole rows.
    inside: bool

    def of(self, members: list[int]) -> Layer:
        """The layer in a pack of these members."""
        return Layer(self.own[members[0]], [self.own[i] for i in members], self.inside)


@dataclass(frozen=True)
class Counts:
    """How many rows each member has, and how many tokens its head reads."""

    rows: list[int]
    tokens: list[int]

    def of(self, layer: Layer, x: Tensor) -> list[int]:
        """How many entries of the first dimension of x, the layer's input, are each member's."""
        if x.dim() in (2, 3) and len(x) == sum(self.rows):
            return self.rows
        if not layer.inside and x.dim() == 2 and len(x) == sum(self.tokens):
            return self.tokens
        raise NoPack('a layer is not given the rows of the batch')


def layers_of(trainings: Sequence[Training]) -> list[Layer]:
    """The layers that differ between members. Raises NoPack if a pack can't compute one of them."""
    if len(trainings) < 2:
        raise NoPack('there is no other member')
    host = trainings[0].model
    for training in trainings[1:]:
        check_same(host, training.model)
    for training in trainings:
        if training.alone is not None:
            raise NoPack(training.alone)
    named = [dict(training.model.network.named_modules()) for training in trainings]
    layers: list[Layer] = []
    for name, module in named[0].items():
        inside = name.startswith(f'{host.network.base_model_prefix}.')
        if isinstance(module, LoraLinear):
            own = [modules.get(name) for modules in named]
            for layer in own:
                check_plain_lora(name, layer)
            layers.append(Layer(module, own, inside))
        elif any(p.requires_grad for p in module.parameters(recurse=False)):
            if '.lora_' in name:
                continue
            own = [modules.get(name) for modules in named]
            if inside or not all(isinstance(layer, nn.Linear) for layer in own):
                raise NoPack(f'{wire_name(name)} is trained, and no linear layer of the head')
            layers.append(Layer(module, own, inside))
    reached = {id(p) for layer in layers for own in layer.own for p in own.parameters()}
    for training in trainings:
        if left := [n for n, p in training.trained.items() if id(p) not in reached]:
            raise NoPack(f'{left[0]} is trained, and in no layer that differs')
    return layers


def check_same(host: OpenModel, model: OpenModel) -> None:
    """Raises NoPack unless the two models differ in trained layers and LoRA's factors alone."""
    tokens = [None if m.tokens is None else m.tokens.tolist() for m in (host, model)]
    if type(host.network) is not type(model.network) or tokens[0] != tokens[1]:
        raise NoPack('their heads are not the same')
    if (host.head, host.padding, host.last) != (model.head, model.padding, model.last):
        raise NoPack('their heads are not the same')
    ours, theirs = frozen(host), frozen(model)
    if ours.keys() != theirs.keys():
        raise NoPack('other parameters are trained')
    for name, parameter in ours.items():
        if parameter.data_ptr() != theirs[name].data_ptr():
            raise NoPack(f'their frozen weights differ: {name}')


def check_plain_lora(name: str, layer: Any) -> None:
    """Raises NoPack unless the layer has one LoRA adapter of the form that `lora_term` computes."""
    if not isinstance(layer, LoraLinear) or list(layer.lora_A) != ['default']:
        raise NoPack(f'{wire_name(name)} has no adapter in another member')
    if not isinstance(layer.lora_dropout['default'], nn.Identity):
        raise NoPack("LoRA's dropout draws masks")
    plain = type(layer.lora_A['default']) is type(layer.lora_B['default']) is nn.Linear
    biased = plain and layer.lora_B['default'].bias is not None
    if not plain or biased or layer.lora_variant or layer.merged or layer.disable_adapters:
        raise NoPack(f'{wire_name(name)} has another form of LoRA')


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """The M matrices as one tensor, (M, rows, columns). Smaller ones are filled up with zeros."""
    rows, columns = (max(part.shape[i] for part in parts) for i in (0, 1))
    return torch.stack(
        [
            part
            if part.shape == (rows, columns)
            else nn.functional.pad(part, (0, columns - part.shape[1], 0, rows - part.shape[0]))
            for part in parts
        ]
    )


def lora_term(layer: Layer, x: Tensor, counts: Counts) -> Tensor:
    """s·(x Aᵀ)Bᵀ for each row of x, with the scale s and the factors A and B of the row's member,
    (..., n) → (..., m).
    """
    own = counts.of(layer, x)
    factors = [(each.lora_A['default'].weight, each.lora_B['default'].weight) for each in layer.own]
    scales = [float(each.scaling['default']) for each in layer.own]
    x = x.to(factors[0][0].dtype)
    if len(set(own)) > 1:
        linear, parts = nn.functional.linear, torch.split(x, own)
        return torch.cat(
            [linear(linear(part, A), B) * s for part, (A, B), s in zip(parts, factors, scales)]
        )
    M = len(own)
    A, B = stacked([A for A, _ in factors]), stacked([B for _, B in factors])
    inner = torch.bmm(x.reshape(M, -1, x.shape[-1]), A.transpose(1, 2))
    delta = torch.bmm(inner, B.transpose(1, 2))
    scale = torch.tensor(scales, dtype=delta.dtype, device=x.device).view(M, 1, 1)
    return (delta * scale).view(*x.shape[:-1], -1)


def forward_of(layer: Layer, counts: Counts) -> Callable[..., Tensor]:
    """The layer's forward pass for the rows of all members, each by its member's weights."""
    module: Any = layer.module

    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        # A pretrained head is given its Q tokens as one row, (1, Q, h).
        if not layer.inside and x.dim() == 3 and len(x) == 1:
            return forward(x[0]).unsqueeze(0)
        if isinstance(module, LoraLinear):
            result: Tensor = module.base_layer(x)
            return (result + lora_term(layer, x, counts)).to(result.dtype)
        parts = torch.split(x, counts.of(layer, x))
        return torch.cat(
            [nn.functional.linear(part, o.weight, o.bias) for part, o in zip(parts, layer.own)]
        )

    return forward


@contextmanager
def reading_all(layers: list[Layer], counts: Counts) -> Iterator[None]:
    """Within this context, the first member's network reads the rows of all members."""
    with ExitStack() as stack:
        for layer in layers:
            # An attribute of the instance hides the method of its class.
            layer.module.__dict__['forward'] = forward_of(layer, counts)
            stack.callback(layer.module.__dict__.pop, 'forward')
        yield


def joint_losses(
    trainings: Sequence[Training], batches: Sequence[Rows], layers: list[Layer]
) -> list[Tensor]:
    """Each member's mean loss of its batch."""
    is_causal = trainings[0].model.head == 'causal-lm'
    rows = [len(own) for own in batches]
    # A causal-LM head reads the tokens before those of answers, others one token of each row.
    tokens = [len(answer_places(own)[0]) if is_causal else len(own) for own in batches]
    with reading_all(layers, Counts(rows, tokens)):
        logits = logits_of(trainings[0], Rows.joined(batches))
    parts = torch.split(logits, tokens)
    return [loss_from(*each) for each in zip(trainings, parts, batches)]


def joint_backward(
    trainings: Sequence[Training], batches: Sequence[list[Rows]], layers: list[Layer]
) -> list[float]:
    """Adds the gradients of each member's batches, and returns each member's mean loss of them."""
    totals = [0.0] * len(trainings)
    for k in range(max(map(len, batches))):
        have = [i for i, own in enumerate(batches) if k < len(own)]
        pack = layers
        if len(have) < len(trainings):
            pack = [layer.of(have) for layer in layers]
        losses = joint_losses([trainings[i] for i in have], [batches[i][k] for i in have], pack)
        # The gradient of the sum is 1 for each loss, even if another loss is not finite.
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for i, loss in zip(have, losses):
            totals[i] += loss.item()
    return [total / len(own) for total, own in zip(totals, batches)]


def check_first(
    trainings: Sequence[Training], batches: Sequence[list[Rows]], layers: list[Layer]
) -> None:
    """Raises NoPack if a member's loss or gradients in the pack are not those that it has alone.
    Marks the members that pass as `checked`.
    """
    for training in trainings:
        training.optimizer.zero_grad()
    together = joint_backward(trainings, batches, layers)
    for training, own, loss in zip(trainings, batches, together):
        in_pack = gradients(training)
        training.optimizer.zero_grad()
        alone, _ = backward(training, own)
        if not math.isfinite(alone):
            continue
        by_itself = gradients(training)
        near = NEAR_BF16 if training.bf16 else NEAR
        # A gradient that is all but zero is made of rounding errors.
        least = 0.01 * math.hypot(*(float(gradient.norm()) for gradient in by_itself))
        right = abs(alone - loss) <= near * max(1.0, abs(alone)) and all(
            float((a - b).norm()) <= near * max(float(b.norm()), least)
            for a, b in zip(in_pack, by_itself)
        )
        if not right:
            raise NoPack('its gradients in a pack are not those alone')
        training.checked = True


def gradients(training: Training) -> list[Tensor]:
    """The gradient of each trained parameter, in their order; zeros where there is none."""
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in training.trained.values()]


def pack_step(
    trainings: Sequence[Training], steps: Sequence[tuple[float, list[Rows]]], layers: list[Layer]
) -> list[float]:
    """Takes a step of each member whose loss is finite, and returns the members' mean losses."""
    batches = [own for _, own in steps]
    network = trainings[0].model.network
    network.train(True)
    try:
        if not all(training.checked for training in trainings):
            check_first(trainings, batches, layers)
        for training in trainings:
            training.optimizer.zero_grad()
        losses = joint_backward(trainings, batches, layers)
    finally:
        network.train(False)
    for training, (rate, own), loss in zip(trainings, steps, losses):
        if math.isfinite(loss):
            update(training, len(own), rate)
    return losses


@dataclass
class Taken:
    """The steps that a member has taken."""

    losses: list[float]
    # How many members took the first of these steps together; 1 if it was taken alone.
    members: int = 1
    # Why the member took the first step alone; None if it did not.
    alone: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the member takes further steps: all losses are finite."""
        return all(map(math.isfinite, self.losses))


def train_pack(trainings: Sequence[Training], steps: Sequence[Steps]) -> tuple[list[Taken], float]:
    """Takes the members' k-th steps together, or one after another if they can't share a step. A
    loss that isn't finite ends the steps of its member. Returns each member's steps, and the
    seconds that all steps took.
    """
    taken, began = [Taken([]) for _ in trainings], time.perf_counter()
    layers: dict[tuple[int, ...], list[Layer] | None] = {}
    for s in range(max(map(len, steps))):
        live = tuple(i for i, own in enumerate(steps) if s < len(own) and taken[i].goes_on)
        members = [trainings[i] for i in live]
        losses: list[float] | None = None
        reason: str | None = None
        try:
            if live not in layers:
                layers[live] = layers_of(members)
            if (differing := layers[live]) is not None:
                losses = pack_step(members, [steps[i][s] for i in live], differing)
        except NoPack as error:
            layers[live], reason = None, str(error)
            if len(members) > 1:
                for training in members:
                    training.alone = reason
        together = 1 if losses is None else len(live)
        if losses is None:
            losses = [train(member, [steps[i][s]])[0][0][0] for i, member in zip(live, members)]
        for i, training, loss in zip(live, members, losses):
            if s == 0:
                taken[i].members, taken[i].alone = together, reason
            taken[i].losses.append(loss)
            training.peak_mb = max(training.peak_mb, held_mb(training.model.device))
    if trainings[0].model.device.type == 'cuda':
        torch.cuda.synchronize()
    return taken, time.perf_counter() - began
