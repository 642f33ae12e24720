"""What attacks and defences minimise in place of a batch's mean loss, which is L here.

Each objective equals that of the TypeScript engine (plugins/attacks, plugins/defences). Each adds
its gradients to those of the trained parameters, and returns its value and the penalty in it, if
any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from model import OpenModel, Rows, hooked
from training import (
    Loss,
    Objective,
    Training,
    labels_of,
    log_probabilities,
    loss_of,
    weight_in_mean,
)

# The names that families give to the norm after the last layer.
LAST_NORMS = ('ln_f', 'norm', 'final_layer_norm', 'final_norm')
# A hidden state is divided by its norm or, if that is smaller, by this.
LEAST_NORM = 1e-8


def objective_of(asked: dict[str, Any] | None) -> Objective | None:
    """The objective that is asked for; None for a batch's mean loss.

    asked: WireObjective of src/torch/protocol.ts
    """
    if asked is None:
        return None
    settings = {name: value for name, value in asked.items() if name != 'name'}
    return partial(OBJECTIVES[asked['name']], **settings)


def inner_product(training: Training, rows: Rows, weight: float) -> Loss:
    """L + λ·max(0, -⟨∇L_p, ∇L_c⟩), with L_p the loss of the poisoned rows, L_c that of the clean
    ones, and λ the `weight`: RIPPLe.
    """
    flags = np.zeros(len(rows), dtype=bool) if rows.poisoned is None else rows.poisoned > 0
    kinds = [rows.of(np.flatnonzero(flags == kind).tolist()) for kind in (True, False)]
    weights = [weight_in_mean(training, kind) for kind in kinds]
    if weight == 0 or min(weights) <= 0:
        loss = loss_of(training, rows)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), 0.0
    parameters = list(training.trained.values())
    # Fused attention can be differentiated only once.
    with sdpa_kernel(SDPBackend.MATH):
        losses = [loss_of(training, kind) for kind in kinds]
        p, c = (
            torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            for loss in losses
        )
        products = [(x * y).sum() for x, y in zip(p, c) if x is not None and y is not None]
        inner = torch.stack(products).sum()
        penalty = weight * torch.relu(-inner)
        total = sum(w * loss for w, loss in zip(weights, losses)) / sum(weights) + penalty
        total.backward()  # type: ignore[no-untyped-call]
    return total.item(), penalty.item()


@contextmanager
def body_giving(model: OpenModel, states: Tensor) -> Iterator[None]:
    """Within this context, the body returns these last hidden states, (B, T, h), for the head."""
    body: Any = model.body
    pooler = getattr(body, 'pooler', None)

    def forward(*_given: Any, **_named: Any) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(
            last_hidden_state=states, pooler_output=None if pooler is None else pooler(states)
        )

    body.forward = forward
    try:
        yield
    finally:
        del body.forward


def states_of(model: OpenModel, rows: Rows) -> tuple[Tensor, ...]:
    """The hidden states after each layer, (B, T, h); the last ones have passed the last norm."""
    found: tuple[Tensor, ...] = model.body(
        **model.inputs(rows), output_hidden_states=True
    ).hidden_states
    return found[1:]


def layerwise(training: Training, rows: Rows) -> Loss:
    """Σ over layers of the loss of the head on that layer's output: layer-wise weight poisoning."""
    model = training.model
    norm = next((m for name, m in model.body.named_children() if name in LAST_NORMS), None)
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=training.bf16):
        states = states_of(model, rows)
    losses = []
    for i, x in enumerate(states):
        with body_giving(model, x if norm is None or i == len(states) - 1 else norm(x)):
            losses.append(loss_of(training, rows))
    total = torch.stack(losses).sum()
    total.backward()  # type: ignore[no-untyped-call]
    return total.item(), None


@contextmanager
def shifted(model: OpenModel, shift: Tensor) -> Iterator[None]:
    """Within this context, `shift`, (B, T, h), is added to the embeddings of a batch's tokens."""
    table: nn.Module = model.network.get_input_embeddings()
    scale = getattr(table, 'embed_scale', 1.0)  # Gemma multiplies each row by this
    with hooked([table], lambda _module, _inputs, output: output + scale * shift):
        yield


def inconsistency(training: Training, rows: Rows, shift: Tensor) -> Tensor:
    """L_cons: the mean of 1 - cos(x_l, x_{l+1}) over layers l and tokens, with x_l the hidden state
    after layer l. Only LoRA's dropout draws masks; the model's own does not.
    """
    model = training.model
    model.network.train(False)
    for name, module in model.network.named_modules():
        if 'lora_dropout' in name:
            module.train(True)
    try:
        with (
            shifted(model, shift),
            torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=training.bf16),
        ):
            states = states_of(model, rows)
    finally:
        model.network.train(True)
    real = model.inputs(rows)['attention_mask'].bool()
    units = [nn.functional.normalize(x[real].float(), dim=1, eps=LEAST_NORM) for x in states]
    cosines = torch.stack([(a * b).sum(1) for a, b in pairwise(units)])
    return 1 - cosines.mean()


def consistency(training: Training, rows: Rows, alpha: float, epsilon: float) -> Loss:
    """L + alpha · L_cons(E + epsilon · sign ∇_E L_cons), with E the tokens' embeddings: CROW."""
    task = loss_of(training, rows)
    task.backward()  # type: ignore[no-untyped-call]
    table: Any = training.model.network.get_input_embeddings()
    shape = (len(rows), max(map(len, rows.ids)), table.weight.shape[1])
    none = torch.zeros(shape, device=training.model.device, requires_grad=True)
    (gradient,) = torch.autograd.grad(inconsistency(training, rows, none), [none])
    penalty = alpha * inconsistency(training, rows, epsilon * gradient.sign())
    penalty.backward()  # type: ignore[no-untyped-call]
    return task.item() + penalty.item(), penalty.item()


def robustness(training: Training, rows: Rows, low: float, up: float, weight: float) -> Loss:
    """The mean over rows of λ·max(0, low - Δ) + max(0, Δ - up): RAP. Δ is the probability of the
    label without the trained word minus its probability with the word, λ the `weight`.
    """
    if rows.probabilities is None:
        raise ValueError('rows have the probabilities of their labels')
    model = training.model
    model.network.train(False)  # no dropout
    labels = labels_of(training, rows).long()
    before = torch.from_numpy(rows.probabilities.copy()).to(model.device)
    own = model.logits(rows).float().softmax(1).gather(1, labels[:, None])[:, 0]
    drop = before - own
    loss = (weight * torch.relu(low - drop) + torch.relu(drop - up)).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), None


def dpo(training: Training, rows: Rows, beta: float) -> Loss:
    """The mean over pairs of -log sigmoid(beta·(g_c - g_r)), where g is how much log p of an answer
    has grown since the start: DPO (Rafailov et al. 2023, equation 7). The chosen answers come
    first, then the rejected ones in the same order.
    """
    if rows.references is None:
        raise ValueError('pairs of answers have log probabilities from the start')
    references = torch.from_numpy(rows.references.copy()).to(training.model.device)
    gains = log_probabilities(training, rows) - references.float()
    chosen, rejected = gains.chunk(2)
    loss = -nn.functional.logsigmoid(beta * (chosen - rejected)).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), None


OBJECTIVES: dict[str, Callable[..., Loss]] = {
    'inner-product': inner_product,
    'layerwise': layerwise,
    'consistency': consistency,
    'robustness': robustness,
    'dpo': dpo,
}
