"""The empirical neural tangent kernel of a model's outputs, over some of its parameters.

It is exact, as that of src/science/measures/ntk: K = Σ over parameters of ∂f/∂θ (∂f/∂θ)ᵀ for the C
outputs f of each of the N rows: class logits or, under a causal-LM head, log p(answer) alone. Of a
linear layer y = W h, ∂f/∂W = Σ_t δ_t h_tᵀ with δ the gradient with respect to y; W is the effective
weight where y is the output of an adapted layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from model import Fault, OpenModel, Rows, answer_places, hooked, modules_of

# The largest number of entries in a slice of the rows' gradients.
SLICE = 1 << 26

# h (B, T, n) and δ (C, B, T, m) of a linear layer in a batch.
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Part:
    """A term of a kernel: over a layer's effective weight, or over parameters."""

    name: str
    # The layer's wire name; None if the term is over parameters.
    module: str | None
    # The parameters' wire names.
    parameters: list[str]
    # The number of the kernel that the term is added to.
    kernel: int
    # F (n, r), where h F takes the place of the layer's input h.
    factor: Tensor | None = None


def outputs(model: OpenModel, rows: Rows) -> Tensor:
    """The outputs f: class logits or, under a causal-LM head, log p(answer) alone, (B, C)."""
    logits = model.logits(rows).float()
    if model.head != 'causal-lm':
        return logits
    owners, _, targets = answer_places(rows)
    own = logits.log_softmax(1).gather(1, model.index(targets)[:, None])  # (Q, 1)
    return own.new_zeros(len(rows), 1).index_add(0, model.index(owners), own)


def single_rows(rows: Rows) -> list[Rows]:
    return [rows.of([b]) for b in range(len(rows))]


def calls_of(model: OpenModel, rows: Rows, modules: Sequence[nn.Module]) -> list[list[Pair]]:
    """For each module, and each call of it: its input h and δ, the gradients of the model's outputs
    with respect to what the call returned. Their shapes are the call's; pairs_of turns them into a
    Pair's.
    """
    found: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {module: [] for module in modules}

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if not output.requires_grad:
            output.requires_grad_(True)  # else there would be no δ in a model that is all frozen
        found[module].append((inputs[0].detach(), output))

    with torch.enable_grad(), hooked(found, keep):
        f = outputs(model, rows)
    calls = [found[module] for module in modules]
    ys = [y for own in calls for _, y in own]
    C = f.shape[1]
    by_class = [
        torch.autograd.grad(f[:, c].sum(), ys, retain_graph=c < C - 1, allow_unused=True)
        for c in range(C)
    ]
    deltas = iter(zip(*by_class))
    # A call that no output depends on has no gradient; DoRA makes such calls to measure norms.
    return [
        [(h, torch.stack(d)) for (h, _), d in zip(own, deltas) if d[0] is not None] for own in calls
    ]


def pairs_of(model: OpenModel, rows: Rows, modules: Sequence[nn.Module]) -> list[list[Pair]]:
    """For each module, one pair for all rows or, if rows share a call, one pair for each row."""
    calls = calls_of(model, rows, modules)
    B, inner = len(rows), set(model.body.modules())

    def separate(module: nn.Module, h: Tensor, d: Tensor) -> Pair | None:
        """A call's h and δ in a Pair's shapes; None if the call does not keep the rows apart."""
        if h.dim() == 2:
            h, d = h[:, None], d[:, :, None]
        elif len(h) != B and module not in inner:  # a pretrained head reads (1, B, h)
            h, d = h.transpose(0, 1), d.transpose(1, 2)
        return (h, d) if h.dim() == 3 and len(h) == B else None

    if B == 1:
        return [
            [
                (
                    torch.cat([h.reshape(1, -1, h.shape[-1]) for h, _ in own], 1),
                    torch.cat([d.reshape(len(d), 1, -1, d.shape[-1]) for _, d in own], 2),
                )
            ]
            for own in calls
        ]
    whole = [
        separate(module, *own[0]) if len(own) == 1 else None for module, own in zip(modules, calls)
    ]
    if all(pair is not None for pair in whole):
        return [[pair] for pair in whole if pair is not None]
    # Rows that share a call, as DeBERTa's do for relative positions, are read one by one instead.
    each = [pairs_of(model, row, modules) for row in single_rows(rows)]
    return [[pair for own in row for pair in own] for row in zip(*each)]


def gram(pairs: Sequence[Pair]) -> Tensor:
    """Σ_{t,u} (δ_t·δ'_u)(h_t·h'_u) for each pair of outputs, (N·C, N·C), with t the tokens of the
    one's row and u those of the other's; output c of row i is at i·C + c. It is computed as the
    inner products of the rows' gradients, in slices of at most about SLICE entries.
    """
    C, _, _, m = pairs[0][1].shape
    n, N = pairs[0][0].shape[2], sum(len(h) for h, _ in pairs)
    width = max(1, SLICE // (N * C * n))
    K = torch.zeros(N * C, N * C, dtype=torch.float64, device=pairs[0][0].device)
    for start in range(0, m, width):
        gradients = torch.cat(
            [
                torch.einsum('cbtm,btn->bcmn', d[..., start : start + width], h).reshape(
                    len(h) * C, -1
                )
                for h, d in pairs
            ]
        )
        K += (gradients @ gradients.T).double()
    return K


def gradients(
    model: OpenModel, rows: Iterable[Rows], parameters: Sequence[nn.Parameter]
) -> Iterator[tuple[Tensor, int, Sequence[Tensor | None]]]:
    """Yields for each output of each row: the row's C outputs f, (C), the number c of the output,
    and ∂f_c/∂p of each parameter p, where None stands for zeros.
    """
    asked = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(True)
    try:
        for row in (row for batch in rows for row in single_rows(batch)):
            with torch.enable_grad():
                f = outputs(model, row)[0]
            for c in range(len(f)):
                yield (
                    f.detach(),
                    c,
                    torch.autograd.grad(
                        f[c], parameters, retain_graph=c < len(f) - 1, allow_unused=True
                    ),
                )
    finally:
        for p, needed in zip(parameters, asked):
            p.requires_grad_(needed)


def loose_gradients(
    model: OpenModel, batches: Sequence[Rows], parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    """For each parameter the gradients of all outputs with respect to it, (N·C, size)."""
    found: list[list[Tensor]] = [[] for _ in parameters]
    for _, _, of_output in gradients(model, batches, parameters):
        for p, gradient, of_parameter in zip(parameters, of_output, found):
            of_parameter.append((torch.zeros_like(p) if gradient is None else gradient).flatten())
    return [torch.stack(of_parameter) for of_parameter in found]


@dataclass
class Kernels:
    outputs: Tensor  # f, (N, C)
    values: Tensor  # (kernels, N·C, N·C)
    traces: list[float]  # of each part's term


def kernels(model: OpenModel, batches: Sequence[Rows], parts: Sequence[Part]) -> Kernels:
    """Computes the kernels by one pass for all layers. Raises Fault where one is not finite."""
    with torch.no_grad():
        f = torch.cat([outputs(model, rows) for rows in batches])
    shape = (1 + max(part.kernel for part in parts), f.numel(), f.numel())
    found = Kernels(f, torch.zeros(shape, dtype=torch.float64, device=f.device), [0.0] * len(parts))

    def add(part: int, K: Tensor) -> None:
        found.traces[part] += float(K.trace())
        found.values[parts[part].kernel] += K

    layers, loose = split_parts(model, parts)
    if loose:
        gradients = loose_gradients(model, batches, [p for _, p in loose])
        for (i, _), own in zip(loose, gradients):
            add(i, own.double() @ own.double().T)
    if layers:
        by_batch = [pairs_of(model, rows, [module for _, module in layers]) for rows in batches]
        for (i, _), *pairs in zip(layers, *by_batch):
            F = parts[i].factor
            all_pairs = [pair for own in pairs for pair in own]
            add(i, gram(all_pairs if F is None else [(h @ F, d) for h, d in all_pairs]))
    for part, trace in zip(parts, found.traces):
        # The diagonal has each gradient's squared norm, so a gradient that isn't finite shows here.
        if not math.isfinite(trace):
            raise Fault(
                f'The kernel of {part.name} is not finite.',
                "The training diverged: look at the model's loss.",
            )
    return found


def split_parts(
    model: OpenModel, parts: Sequence[Part]
) -> tuple[list[tuple[int, nn.Module]], list[tuple[int, nn.Parameter]]]:
    """The linear layers that the parts are over and, in a second list, the other parameters that
    they are over, each with the index of its part. A parameter that is the weight of a linear layer
    counts as that layer.
    """
    modules = modules_of(model.network)
    owners = {
        id(module.weight): module
        for module in model.network.modules()
        if isinstance(module, (nn.Linear, Conv1D))
    }
    layers: list[tuple[int, nn.Module]] = []
    loose: list[tuple[int, nn.Parameter]] = []
    for i, part in enumerate(parts):
        if part.module is not None:
            layers.append((i, modules[part.module]))
        for name in part.parameters:
            parameter = model.parameters[name]
            owner = owners.get(id(parameter))
            if owner is None:
                loose.append((i, parameter))
            else:
                layers.append((i, owner))
    return layers, loose
