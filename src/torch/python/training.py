"""Trains models: the losses, the optimiser's steps, and the state to go on from.

Each definition equals that of the TypeScript engine (src/science/training, src/science/models).
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from model import Fault, OpenModel, Rows, answer_places, packed, put
from ranks import Share, divided, gathered, own_part, shard

STATM = '/proc/self/statm'

# The loss of a batch, and the penalty that it includes; None for a loss without a penalty.
Loss = tuple[float, float | None]
# A function that adds the gradients of a batch, and returns its loss.
Objective = Callable[['Training', Rows], Loss]


@dataclass
class Training:
    """A training that has been started: a model, what of it is trained, and how."""

    model: OpenModel
    # The trained parameters by wire name.
    trained: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    # The factor on each group's learning rate.
    rates: list[float]
    clip_norm: float
    class_weights: Tensor | None
    bf16: bool
    # What is minimised in place of a batch's mean loss; None to minimise the mean loss.
    objective: Objective | None
    # The norms that the trained rows of the token table keep, (k, 1); None if they may change.
    norms: Tensor | None
    # The states of the generators (CPU, GPU) that draw dropout; each training has its own.
    random: list[Tensor]
    # The most tokens of a sequence into which rows are packed; None if they are not packed.
    packing: int | None = None
    # This process's part in the training; None if it is the only process.
    share: Share | None = None
    # The copies that `keep` has made of the trained values; empty before.
    kept: dict[str, Tensor] = field(default_factory=dict)
    # The most memory that was held after a step: of the process, or of the GPU.
    peak_mb: float = 0.0
    # Whether the gradients in a pack were found to be the same as alone (packs.py).
    checked: bool = False
    # Why the training can be in no pack; None while none is known.
    alone: str | None = None

    @contextmanager
    def own_random(self) -> Iterator[None]:
        """Within this context, PyTorch draws random numbers from this training's states."""
        set_random(self.random)
        try:
            yield
        finally:
            self.random = random_states()

    def keep(self) -> None:
        self.kept = {name: p.detach().clone() for name, p in self.trained.items()}

    def use_kept(self) -> None:
        if not self.kept:
            raise ValueError('no values were kept')
        put(self.trained, self.kept)

    def largest(self, value: float) -> float:
        return value if self.share is None else self.share.largest(value)


def random_states() -> list[Tensor]:
    gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *gpu]


def set_random(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])


class WithRows(nn.Module):
    """A parametrization of a table: k of its rows are those of a new parameter, (k, h)."""

    def __init__(self, table: Tensor, ids: list[int]) -> None:
        super().__init__()
        self.ids = torch.tensor(ids, device=table.device)
        self.rows = nn.Parameter(table.detach()[self.ids].clone())

    def forward(self, table: Tensor) -> Tensor:
        return table.index_copy(0, self.ids, self.rows)


def split_token_rows(model: OpenModel, ids: list[int]) -> nn.Parameter:
    """Makes rows of the token table a new parameter, and returns it, (k, h)."""
    module: Any = model.network.get_input_embeddings()
    part = WithRows(module.weight, ids)
    register_parametrization(module, 'weight', part)
    return part.rows


def start(
    model: OpenModel,
    settings: dict[str, Any],
    objective: Objective | None = None,
    share: Share | None = None,
) -> Training:
    """Starts a training of exactly the parameters in `trainable`.

    settings: WireTraining of src/torch/protocol.ts
    """
    rows, keeps = settings.get('token_rows'), False
    if share is not None and objective is not None:
        raise ValueError('several processes compute no objective')
    if share is not None and settings.get('fsdp'):
        if not getattr(model, 'pads', True):
            kind = type(model.network).__name__
            raise Fault(
                f'{kind} reads rows of one length at a time, which train.fsdp does not do',
                'Leave out train.fsdp.',
            )
        share = replace(share, whole=shard(model, share.device, share.count))
    parameters = model.parameters
    if rows is not None:
        parameters, keeps = {'token_rows': split_token_rows(model, rows['ids'])}, rows['keep_norms']
    unknown = [name for name in settings['trainable'] if name not in parameters]
    if unknown:
        raise ValueError(f'the model has no parameter {unknown[0]}')
    trained = {name: parameters[name] for name in settings['trainable']}
    for parameter in trained.values():
        parameter.requires_grad_(True)
    grouped = [name for group in settings['groups'] for name in group['names']]
    if sorted(grouped) != sorted(trained):
        raise ValueError('each trained parameter belongs to one group')
    groups = [
        {
            'params': [trained[name] for name in group['names']],
            'weight_decay': settings['weight_decay'] if group['decay'] else 0.0,
        }
        for group in settings['groups']
    ]
    if settings['gradient_checkpointing']:
        checkpoint_gradients(model)
    weights = settings.get('class_weights')
    torch.manual_seed(seed_of(settings['seed'], 0 if share is None else share.rank))
    if model.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    return Training(
        model=model,
        trained=trained,
        optimizer=optimizer_of(settings, groups),
        rates=[group['rate'] for group in settings['groups']],
        clip_norm=settings['clip_norm'],
        class_weights=None
        if weights is None
        else torch.tensor(weights, dtype=torch.float32, device=model.device),
        bf16=settings['precision'] == 'bf16',
        objective=objective,
        norms=trained['token_rows'].detach().norm(dim=1, keepdim=True) if keeps else None,
        random=random_states(),
        packing=settings.get('packing'),
        share=share,
    )


def seed_of(seed: int, rank: int) -> int:
    """The seed of a process. Seeds differ, so that no two processes draw the same masks. Those of
    all but the first process have 32 bits, which are all that a CPU's generator reads.
    """
    return seed if rank == 0 else Random(f'{seed}/{rank}').getrandbits(32)


def checkpoint_gradients(model: OpenModel) -> None:
    """Makes the backward pass compute a layer's values again, which saves memory. Raises Fault if
    the class can't.
    """
    network: Any = model.network
    try:
        # `use_reentrant` would need inputs with a gradient, which a frozen base does not give.
        network.gradient_checkpointing_enable({'use_reentrant': False})
    except ValueError as error:
        raise Fault(str(error), 'Leave out train.gradient_checkpointing.') from error


def optimizer_of(settings: dict[str, Any], groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of groups of parameters, each with its weight decay. `update` sets the learning
    rates.
    """
    if settings['optimizer'] == 'sgd':
        return torch.optim.SGD(groups, lr=0.0)
    betas = (settings['beta1'], settings['beta2'])
    # On a processor the fused update takes an eighth of the time.
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings['epsilon'], fused=True)


def logits_of(training: Training, rows: Rows) -> Tensor:
    """The logits in float32, as OpenModel.logits has them; FSDP gathers the parameters for it."""
    model, share = training.model, training.share
    whole = None if share is None else share.whole
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=training.bf16):
        found: Tensor = model.logits(rows) if whole is None else whole(lambda: model.logits(rows))
        return found.float()


def loss_from(training: Training, logits: Tensor, rows: Rows, reduction: str = 'mean') -> Tensor:
    """The mean (or sum) of the losses of classes, of numbers, or of the tokens of answers."""
    model = training.model
    if model.head == 'causal-lm':
        targets = model.index(answer_places(rows)[2])
        return nn.functional.cross_entropy(logits, targets, reduction=reduction)
    labels = labels_of(training, rows)
    if model.head == 'classifier' and logits.shape[1] == 1:
        return nn.functional.mse_loss(logits[:, 0], labels, reduction=reduction)
    return nn.functional.cross_entropy(
        logits, labels.long(), weight=training.class_weights, reduction=reduction
    )


def log_probabilities(training: Training, rows: Rows) -> Tensor:
    """log p(answer | prompt) of each row, the sum over its tokens, (B)."""
    owners, _, targets = answer_places(rows)
    logits, model = logits_of(training, rows), training.model
    losses = nn.functional.cross_entropy(logits, model.index(targets), reduction='none')
    return losses.new_zeros(len(rows)).index_add(0, model.index(owners), -losses)


def labels_of(training: Training, rows: Rows) -> Tensor:
    """The rows' labels on the model's device, (B). Raises ValueError if they have none."""
    if rows.labels is None:
        raise ValueError('rows to train on have labels')
    return torch.from_numpy(rows.labels.copy()).to(training.model.device)


def weight_in_mean(training: Training, rows: Rows) -> float:
    """The divisor that turns the sum of the rows' losses into their mean: the number of answers'
    tokens or of rows, or the sum of the rows' class weights.
    """
    if training.model.head == 'causal-lm':
        return len(answer_places(rows)[0])
    if training.class_weights is None:
        return len(rows)
    return float(training.class_weights[labels_of(training, rows).long()].sum())


def loss_of(training: Training, rows: Rows) -> Tensor:
    """The mean loss of a batch; with several processes, this process's part of it. The parts of all
    processes sum to the mean loss.
    """
    share = training.share
    # Rows are packed before they are shared out, so that each process gets whole sequences.
    read = rows if training.packing is None else packed(rows, training.packing)
    if share is None:
        return loss_from(training, logits_of(training, read), read)
    chosen = share.rows(read)
    own = read.of(chosen or [0])  # a process without rows must take part in collective operations
    total = loss_from(training, logits_of(training, own), own, 'sum')
    return total * bool(chosen) / weight_in_mean(training, read)


def backward(training: Training, batches: list[Rows]) -> Loss:
    """Adds up the gradients of the batches' losses. Returns the mean loss and the mean penalty."""
    found = [backward_of(training, rows) for rows in batches]
    if training.share is not None:
        training.share.sum_gradients(training.trained.values())
        found = [(loss, None) for loss in training.share.sums(loss for loss, _ in found)]
    penalties = [penalty for _, penalty in found if penalty is not None]
    penalty = sum(penalties) / len(batches) if penalties else None
    return sum(loss for loss, _ in found) / len(batches), penalty


def backward_of(training: Training, rows: Rows) -> Loss:
    if training.objective is not None:
        return training.objective(training, rows)
    loss = loss_of(training, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), None


def update(training: Training, batches: int, rate: float) -> None:
    """Updates the parameters by their gradients, which are sums over this number of batches."""
    parameters = list(training.trained.values())
    for parameter in parameters:
        # A parameter that the loss doesn't reach has gradient zero, and decays.
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        elif batches > 1:
            parameter.grad /= batches
    if training.clip_norm > 0:
        nn.utils.clip_grad_norm_(parameters, training.clip_norm)
    for group, factor in zip(training.optimizer.param_groups, training.rates):
        group['lr'] = rate * factor
    training.optimizer.step()
    if training.norms is not None:
        rows = training.trained['token_rows']
        with torch.no_grad():
            rows.mul_(training.norms / rows.norm(dim=1, keepdim=True))


def step(training: Training, batches: list[Rows], rate: float) -> Loss:
    """Takes one step on the mean loss of the batches, and returns that. If it is not finite,
    changes no parameter.
    """
    training.optimizer.zero_grad()
    found = backward(training, batches)
    if is_finite_loss(found):
        update(training, len(batches), rate)
    return found


def is_finite_loss(loss: Loss) -> bool:
    return all(math.isfinite(value or 0.0) for value in loss)


def train(training: Training, steps: list[tuple[float, list[Rows]]]) -> tuple[list[Loss], float]:
    """Takes steps until a loss is not finite. Returns the loss of each, and the seconds of all."""
    network, losses, began = training.model.network, [], time.perf_counter()
    network.train(True)
    try:
        with training.own_random():
            for rate, batches in steps:
                losses.append(step(training, batches, rate))
                training.peak_mb = max(training.peak_mb, held_mb(training.model.device))
                if not is_finite_loss(losses[-1]):
                    break
        if training.model.device.type == 'cuda':
            torch.cuda.synchronize()
    finally:
        network.train(False)
    return losses, time.perf_counter() - began


def held_mb(device: torch.device) -> float:
    """The memory in MiB that the process holds now (without /proc, the most that it has held) or,
    on a GPU, the most that was held there since a training was last started.
    """
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**20
    if not os.path.exists(STATM):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (2**20 if sys.platform == 'darwin' else 2**10)
    with open(STATM, encoding='ascii') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def is_finite(training: Training) -> bool:
    """Whether all trained values are finite, in all processes."""
    own = all(bool(own_part(p).isfinite().all()) for p in training.trained.values())
    return training.largest(float(not own)) == 0


def write(tensors: dict[str, Tensor], out: str, metadata: dict[str, str] | None = None) -> None:
    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(here, out, metadata=metadata)


def write_whole(
    training: Training,
    tensors: Mapping[str, Tensor],
    out: str,
    metadata: dict[str, str] | None = None,
) -> None:
    """Puts tensors together from the parts of all processes. The first process writes the file."""
    first = training.share is None or training.share.rank == 0
    whole = {}
    for name, tensor in tensors.items():
        value = gathered(tensor.detach())
        if first:
            whole[name] = value
    if first:
        write(whole, out, metadata)


def save_state(training: Training, out: str, facts: str) -> None:
    """Writes trained and kept values, and the states of the optimiser and the random numbers."""
    tensors: dict[str, Tensor] = {f'trained/{name}': p for name, p in training.trained.items()}
    tensors |= {f'kept/{name}': value for name, value in training.kept.items()}
    random = [training.random] if training.share is None else training.share.each(training.random)
    for rank, states in enumerate(random):
        tensors |= {f'random/{rank}/{i}': state for i, state in enumerate(states)}
    for name, parameter in training.trained.items():
        for part, value in training.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f'optimizer/{part}/{name}'] = value
    write_whole(training, tensors, out, {'facts': facts})


def load_state(training: Training, path: str) -> None:
    """Restores what `save_state` wrote, in as many processes."""
    with safe_open(path, 'pt') as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}

    def under(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): v for n, v in saved.items() if n.startswith(prefix)}

    trained = under('trained/')
    if set(trained) != set(training.trained):
        raise ValueError(f'{path} belongs to another training')
    own = {name: divided(value, training.trained[name]) for name, value in trained.items()}
    put(training.trained, own)
    training.kept = {
        name: divided(value, training.trained[name]) for name, value in under('kept/').items()
    }
    random = under(f'random/{0 if training.share is None else training.share.rank}/')
    training.random = [random[str(i)] for i in range(min(len(random), len(training.random)))]
    training.optimizer.state.clear()
    for name, value in under('optimizer/').items():
        part, name = name.split('/', 1)
        parameter = training.trained[name]
        is_whole = value.shape == parameter.shape
        training.optimizer.state[parameter][part] = (
            divided(value, parameter) if is_whole else value.to(training.model.device)
        )
