"""What the process can be asked for: a table of operations by name."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import adapters
import description
import judges
from harness import harness
from measures import linearised, squared_inputs, surprisals
from model import Fault, OpenModel, Rows, decoded, encoded, open_model, rows_of
from ntk import Part, kernels
from objectives import objective_of
from packs import share_frozen, train_pack
from prediction import Sampling, answers, generate
from ranks import Ranks, Share
from training import (
    Training,
    is_finite,
    load_state,
    log_probabilities,
    save_state,
    start,
    train,
    write_whole,
)

__all__ = ['OPERATIONS', 'Fault', 'Session']

Json = dict[str, Any]
Operation = Callable[['Session', Json], Json]


@dataclass
class Session:
    """The models and trainings that are open, by the number that `open` gave them."""

    device: torch.device
    # Reports an error of another process, and ends this one.
    fail: Callable[[Json], None]
    # This process's number among those of a training; 0 for the first.
    rank: int
    # In the first process of a training of several processes: the others. Else None.
    ranks: Ranks | None = None
    # The number of the model that these processes train.
    shared: int = 0
    models: dict[int, OpenModel] = field(default_factory=dict)
    trainings: dict[int, Training] = field(default_factory=dict)
    # How many models have been opened, which is the number of the last one.
    opened: int = 0

    def model(self, request: Json) -> OpenModel:
        if request['model'] not in self.models:
            raise ValueError(f'no model {request["model"]} is open')
        return self.models[request['model']]

    def training(self, request: Json) -> Training:
        if request['model'] not in self.trainings:
            raise ValueError(f'model {request["model"]} was not opened for training')
        return self.trainings[request['model']]


# NAME_ performs the operation NAME of src/torch/protocol.ts: it decodes the request, calls a
# function of another file, and encodes what that returns.
def open_(session: Session, request: Json) -> Json:
    asked = request.get('training') or {}
    devices, share = asked.get('devices', 1), None
    # Under FSDP a model is read on the processor, since parameters go to their devices in parts.
    model = open_model(request, torch.device('cpu') if asked.get('fsdp') else session.device)
    if request.get('described'):
        model = description.checked_model(model)
    if asked.get('packing') is not None:
        description.check_packing(model)
    if devices > 1:
        share = Share(session.rank, devices, session.device)
    number = session.opened = session.opened + 1
    trained = 0
    if request.get('training') is not None:
        training = session.trainings[number] = start(
            model, asked, objective_of(asked.get('objective')), share
        )
        if share is None:
            share_frozen(model, session.models.values())
        trained = sum(p.numel() for p in training.trained.values())
    session.models[number] = model
    distinct = {id(p): p.numel() for p in model.parameters.values()}
    return {'model': number, 'parameters': sum(distinct.values()), 'trained': trained}


def steps_of(asked: Json) -> list[tuple[float, list[Rows]]]:
    """The learning rate and the batches of each step of a WireSteps."""
    return [(step['rate'], [rows_of(rows) for rows in step['batches']]) for step in asked['steps']]


def train_(session: Session, request: Json) -> Json:
    """Takes the steps; `penalties` is None if the objective has none."""
    training = session.training(request)
    found, seconds = train(training, steps_of(request))
    penalties = [penalty for _, penalty in found if penalty is not None]
    return {
        'losses': encoded(np.array([loss for loss, _ in found]), 'f8'),
        'penalties': encoded(np.array(penalties), 'f8') if penalties else None,
        'seconds': seconds,
        'peak_mb': training.largest(training.peak_mb),
    }


def train_pack_(session: Session, request: Json) -> Json:
    asked = request['members']
    trainings = [session.training(member) for member in asked]
    found, seconds = train_pack(trainings, [steps_of(member) for member in asked])
    return {
        'seconds': seconds,
        'members': [
            {
                'losses': encoded(np.array(taken.losses), 'f8'),
                'peak_mb': training.peak_mb,
                'members': taken.members,
                'alone': taken.alone,
            }
            for training, taken in zip(trainings, found)
        ],
    }


@torch.no_grad()
def predict_(session: Session, request: Json) -> Json:
    logits = session.model(request).logits(rows_of(request['rows']))
    return {'logits': encoded(logits, 'f4')}


def answers_(session: Session, request: Json) -> Json:
    losses, tokens, greedy = answers(session.model(request), rows_of(request['rows']))
    return {
        'losses': encoded(losses, 'f8'),
        'tokens': encoded(tokens, 'i4'),
        'greedy': encoded(greedy, 'i4'),
    }


@torch.no_grad()
def references_(session: Session, request: Json) -> Json:
    values = log_probabilities(session.training(request), rows_of(request['rows']))
    return {'values': encoded(values, 'f8')}


@torch.no_grad()
def representations_(session: Session, request: Json) -> Json:
    values = session.model(request).representations(rows_of(request['rows']))
    return {'values': encoded(values, 'f4'), 'width': values.shape[1]}


def generate_(session: Session, request: Json) -> Json:
    rows, most, asked = rows_of(request['rows']), request['max_new_tokens'], request.get('sampling')
    sampling = None
    if asked is not None:
        top_p = asked.get('top_p')
        sampling = Sampling(
            temperature=asked['temperature'],
            top_k=asked.get('top_k'),
            top_p=1.0 if top_p is None else top_p,
            uniforms=decoded(asked['uniforms'], 'f8').reshape(len(rows), most),
        )
    stops = frozenset(request['stops'])
    model = session.model(request)
    if isinstance(model, description.AnyModel):
        return {'texts': description.generate(model, rows, most, stops, sampling)}
    return {'texts': generate(model, rows, most, stops, sampling)}


def kernel_(session: Session, request: Json) -> Json:
    model, file = session.model(request), request.get('factors')
    factors = {} if file is None else load_file(file, str(model.device))
    found = kernels(
        model,
        [rows_of(rows) for rows in request['batches']],
        [
            Part(**part | {'factor': None if part['factor'] is None else factors[part['factor']]})
            for part in request['parts']
        ],
    )
    np.save(request['out'], found.values.cpu().numpy())
    return {
        'logits': encoded(found.outputs, 'f4'),
        'traces': encoded(np.array(found.traces), 'f8'),
    }


def squared_inputs_(session: Session, request: Json) -> Json:
    layers = [(layer['module'], layer['reads_one']) for layer in request['layers']]
    found = squared_inputs(session.model(request), rows_of(request['rows']), layers)
    return {'sums': [encoded(own, 'f8') for own in found]}


def linearised_(session: Session, request: Json) -> Json:
    direction = load_file(request['direction'])
    values, change = linearised(session.model(request), rows_of(request['rows']), direction)
    return {'outputs': encoded(values, 'f4'), 'change': encoded(change, 'f8')}


def close(session: Session, request: Json) -> None:
    """Forgets a model and its training, and frees their memory."""
    session.models.pop(request['model'], None)
    training = session.trainings.pop(request['model'], None)
    if training is not None and training.share is not None:
        dist.destroy_process_group()
    del training
    gc.collect()
    if not session.models:
        gc.freeze()  # what is left is mostly modules, which a collection need not look at again
    if session.device.type == 'cuda':
        torch.cuda.empty_cache()


def without_result(act: Callable[[Session, Json], None]) -> Operation:
    """The operation that calls `act` and has the empty result."""

    def operation(session: Session, request: Json) -> Json:
        act(session, request)
        return {}

    return operation


# The operations that only read a model: FSDP gathers its parameters while they run.
READS = ('predict', 'answers', 'representations', 'generate')


def perform_together(session: Session, request: Json, operation: Operation) -> Json:
    """Performs a request: in all processes if it is about a training of several, else in this."""
    name, model = request['op'], request.get('model')
    devices = (request.get('training') or {}).get('devices', 1)
    if devices > 1 and session.rank == 0:
        session.ranks = Ranks(devices, session.device, session.fail)
        model = session.shared = session.opened + 1
    training = session.trainings.get(model or 0)
    share = None if training is None else training.share

    def act() -> Json:
        """Performs the request here; under FSDP, an operation that reads gathers the parameters."""
        if share is None or share.whole is None or name not in READS:
            return operation(session, request)
        with torch.no_grad():
            found: Json = share.whole(lambda: operation(session, request))
            return found

    if session.ranks is None or model != session.shared:
        return act()
    return session.ranks.perform(act, request)


# What each operation does in one process; OPERATIONS has it done in all processes of a training.
IN_ONE_PROCESS: dict[str, Operation] = {
    'adapter': lambda _, r: adapters.adapter(r),
    'describe': lambda _, r: description.describe(Path(r['checkpoint'])),
    'open': open_,
    'train': train_,
    'train_pack': train_pack_,
    'predict': predict_,
    'answers': answers_,
    'references': references_,
    'representations': representations_,
    'generate': generate_,
    'judge': lambda s, r: judges.judge_(r, s.device),
    'kernel': kernel_,
    'surprisals': lambda s, r: {
        'losses': encoded(surprisals(s.model(r), rows_of(r['rows'])), 'f8')
    },
    'squared_inputs': squared_inputs_,
    'linearised': linearised_,
    'values': without_result(
        lambda s, r: write_whole(s.training(r), s.training(r).trained, r['out'])
    ),
    'finite': lambda s, r: {'finite': is_finite(s.training(r))},
    'keep': without_result(lambda s, r: s.training(r).keep()),
    'use_kept': without_result(lambda s, r: s.training(r).use_kept()),
    'save_state': without_result(lambda s, r: save_state(s.training(r), r['out'], r['facts'])),
    'load_state': without_result(lambda s, r: load_state(s.training(r), r['path'])),
    'harness': lambda s, r: harness(s.model(r), r),
    'close': without_result(close),
}
OPERATIONS: dict[str, Operation] = {
    name: lambda s, r, own=own: perform_together(s, r, own)  # type: ignore[misc]
    for name, own in IN_ONE_PROCESS.items()
}
