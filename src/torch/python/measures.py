"""What is measured on a model beside its outputs: inputs of layers, tokens that it predicts, and
how its outputs change along a direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model import Floats, Integers, OpenModel, Rows, hooked, modules_of
from ntk import gradients


@torch.no_grad()
def surprisals(model: OpenModel, rows: Rows) -> Floats:
    """-log p of each row's label, (B)."""
    if rows.labels is None:
        raise ValueError('rows whose labels are predicted have labels')
    labels = torch.from_numpy(rows.labels.astype(np.int64)).to(model.device)
    losses = nn.functional.cross_entropy(model.logits(rows).float(), labels, reduction='none')
    found: Floats = losses.cpu().numpy().astype(np.float64)
    return found


def head_places(model: OpenModel, rows: Rows) -> Integers:
    """The place in each row of the token that a classifier or a cloze head reads, (B). A classifier
    that does not read the last token reads the first.
    """
    if model.head == 'classifier' and not model.reads_last:
        return np.zeros(len(rows), dtype=np.int32)
    return model.read_places(rows)[1]


@torch.no_grad()
def squared_inputs(
    model: OpenModel, rows: Rows, layers: Sequence[tuple[str, bool]]
) -> list[Tensor]:
    """Σ x² of each layer's input features over the rows' tokens, (n) each, in double precision.

    layers: wire names, each with whether only the token that the head reads counts in each row.
    """
    modules = modules_of(model.network)
    B, width = len(rows), max(map(len, rows.ids))
    ends = model.index(np.array([len(ids) for ids in rows.ids]))
    tokens = torch.arange(width, device=model.device)[None] < ends[:, None]  # (B, T)
    every, places = torch.arange(B), model.index(head_places(model, rows))
    reads_one = {modules[name]: one for name, one in layers}
    sums: dict[nn.Module, Tensor] = {}

    def add(module: nn.Module, inputs: Any) -> None:
        x: Tensor = inputs[0].double()
        if x.dim() == 3 and x.shape[:2] == tokens.shape:
            x = x[every, places] if reads_one[module] else x[tokens]
        square = x.reshape(-1, x.shape[-1]).square().sum(0)
        sums[module] = sums[module] + square if module in sums else square

    with hooked(reads_one, add, before=True):
        model.logits(rows)
    return [sums[module] for module in reads_one]


def linearised(model: OpenModel, rows: Rows, direction: dict[str, Tensor]) -> tuple[Tensor, Floats]:
    """The outputs f, (B, C), and their derivative along a direction, (B, C).

    direction: a change of parameters, by wire name
    """
    names = list(direction)
    parameters = [model.parameters[name] for name in names]
    along = [direction[name].to(model.device) for name in names]
    values: list[Tensor] = []
    change: list[list[float]] = []
    for f, c, own in gradients(model, [rows], parameters):
        if c == 0:
            values.append(f)
            change.append([])
        change[-1].append(sum(float((g * v).sum()) for g, v in zip(own, along) if g is not None))
    return torch.stack(values), np.array(change)
