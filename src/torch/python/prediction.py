"""What models predict and write (src/science/measures/evaluate, src/science/models/generate.ts)."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import Fault, Floats, Integers, OpenModel, Rows, answer_places, padded


def first_likeliest(logits: Tensor) -> Tensor:
    """The likeliest token by each row of logits, (Q, V) → (Q). Of several tokens with the same
    logit, the one with the smallest id, which argmax does not promise.
    """
    V = logits.shape[1]
    places = torch.arange(V, device=logits.device)
    best = logits == logits.max(1, keepdim=True).values
    return torch.where(best, places, V).amin(1)


@torch.no_grad()
def answers(model: OpenModel, rows: Rows) -> tuple[Floats, Integers, Integers]:
    """-log p(answer | prompt) of each row, the number of the answer's tokens, and whether greedy
    decoding writes them, (B) each.
    """
    owners, _, targets = answer_places(rows)
    logits, wanted = model.logits(rows).float(), model.index(targets)
    losses = torch.nn.functional.cross_entropy(logits, wanted, reduction='none').cpu().numpy()
    equal = (first_likeliest(logits) == wanted).cpu().numpy()
    B = len(rows)
    total = np.bincount(owners, weights=losses.astype(np.float64), minlength=B)
    counts = np.bincount(owners, minlength=B)
    right = np.bincount(owners, weights=equal, minlength=B)
    greedy = (right == counts).astype(np.int32)
    return total.astype(np.float64), counts.astype(np.int32), greedy


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float
    top_k: int | None
    top_p: float
    # Random numbers in [0, 1), (B, max_new_tokens): one for each token that a row may get.
    uniforms: Floats


def draw(logits: NDArray[np.float32], uniform: float, sampling: Sampling) -> int:
    """Draws a token as transformers' `generate` does. logits: (V)"""
    # The tokens from the likeliest on; tokens with the same logit in the order of their ids. Sums
    # run in the same order as in drawToken of generate.ts, so that both draw the same tokens.
    order = np.argsort(-logits, kind='stable')
    weights = np.exp((logits.astype(np.float64) - float(logits[order[0]])) / sampling.temperature)
    likely = weights[order]
    mass = np.cumsum(weights)[-1]
    if sampling.top_k is not None and sampling.top_k < len(logits):
        likely = likely[: max(1, sampling.top_k)]
        mass = np.cumsum(likely)[-1]
    if sampling.top_p < 1:
        before = np.cumsum(likely)
        count = min(int(np.searchsorted(before, sampling.top_p * mass)) + 1, len(likely))
        likely, mass = likely[:count], before[count - 1]
    left = np.subtract.accumulate(np.concatenate([[uniform * mass], likely]))[1:]
    below = np.flatnonzero(left < 0)
    return int(order[below[0] if len(below) else len(likely) - 1])


def choose(logits: Tensor, live: list[int], step: int, sampling: Sampling | None) -> list[int]:
    """The next token of each row that goes on. logits: (rows, V); live: the rows' indexes in the
    batch; step: how many tokens were written before.
    """
    if sampling is None:
        best = logits.max(1).values  # NaN if any logit is NaN
        refuse_not_finite(~torch.isfinite(best))
        ids: list[int] = first_likeliest(logits).tolist()
        return ids
    refuse_not_finite(~torch.isfinite(logits).all(1))
    values = logits.cpu().numpy()
    return [draw(own, sampling.uniforms[b, step], sampling) for own, b in zip(values, live)]


def refuse_not_finite(wrong: Tensor) -> None:
    """Raises Fault if any of the flags is set."""
    if bool(wrong.any()):
        raise Fault(
            'The logits after a prompt are not finite.',
            "The training diverged: look at the model's loss.",
        )


@torch.no_grad()
def generate(
    model: OpenModel,
    rows: Rows,
    max_new_tokens: int,
    stops: frozenset[int],
    sampling: Sampling | None,
) -> list[dict[str, Any]]:
    """Continues each prompt until a token of `stops`, or to `max_new_tokens` tokens. Returns the
    `ids` of its new tokens without the stop, and whether it has `ended` at one. A row that has
    ended leaves the batch.
    """
    network, device = model.network, model.device
    accepts = inspect.signature(network.forward).parameters
    # The cache's argument has different names in releases of transformers.
    cache_name = 'cache' if 'cache' in accepts else 'past_key_values'
    only_last = {'logits_to_keep': 1} if 'logits_to_keep' in accepts else {}
    texts: list[dict[str, Any]] = [{'ids': [], 'ended': False} for _ in rows.ids]
    live = list(range(len(rows)))
    ids = padded(rows.ids, 0, left=True).to(device)
    mask = padded([np.ones_like(own) for own in rows.ids], 0, left=True).to(device)
    positions = padded([np.arange(len(own)) for own in rows.ids], 0, left=True).to(device)
    cache: Any = None
    for step in range(max_new_tokens):
        output = network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{cache_name: cache},
            **only_last,
        )
        cache = getattr(output, cache_name)
        chosen = choose(output.logits[:, -1].float(), live, step, sampling)
        going = [k for k, token in enumerate(chosen) if token not in stops]
        for k, token in enumerate(chosen):
            if token in stops:
                texts[live[k]]['ended'] = True
            else:
                texts[live[k]]['ids'].append(token)
        if not going:
            break
        index = torch.tensor(going, device=device)
        if len(going) < len(live):
            cache.batch_select_indices(index)
            live = [live[k] for k in going]
        ids = torch.tensor([[chosen[k]] for k in going], device=device)
        mask = torch.cat([mask[index], torch.ones_like(ids)], 1)
        positions = positions[index, -1:] + 1
    return texts
