"""What the process can be asked for: a table of operations by name."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from model import Fault, OpenModel, decoded, encoded, open_model, put, rows_of
from ntk import Part, kernels
from prediction import Sampling, answers, generate, predict, representations
from training import Training, is_finite, load_state, save_state, start, train, write

__all__ = ['OPERATIONS', 'Fault', 'Session']

Json = dict[str, Any]


def default_device() -> torch.device:
    return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')


@dataclass
class Session:
    """The models that are open."""

    device: torch.device = field(default_factory=default_device)
    models: dict[int, OpenModel] = field(default_factory=dict)
    trainings: dict[int, Training] = field(default_factory=dict)
    opened: int = 0

    def model(self, request: Json) -> OpenModel:
        if request['model'] not in self.models:
            raise ValueError(f'no model {request["model"]} is open')
        return self.models[request['model']]

    def training(self, request: Json) -> Training:
        if request['model'] not in self.trainings:
            raise ValueError(f'model {request["model"]} was not opened for training')
        return self.trainings[request['model']]


def open_(session: Session, request: Json) -> Json:
    model = open_model(request, session.device)
    number = session.opened = session.opened + 1
    trained = 0
    if request.get('training') is not None:
        training = session.trainings[number] = start(model, request['training'])
        trained = sum(p.numel() for p in training.trained.values())
    session.models[number] = model
    distinct = {id(p): p.numel() for p in model.parameters.values()}
    return {'model': number, 'parameters': sum(distinct.values()), 'trained': trained}


def train_(session: Session, request: Json) -> Json:
    steps = [
        (asked['rate'], [rows_of(rows) for rows in asked['batches']]) for asked in request['steps']
    ]
    losses, seconds = train(session.training(request), steps)
    return {'losses': encoded(np.array(losses), 'f8'), 'seconds': seconds}


def predict_(session: Session, request: Json) -> Json:
    logits = predict(session.model(request), rows_of(request['rows']))
    return {'logits': encoded(logits, 'f4')}


def answers_(session: Session, request: Json) -> Json:
    losses, tokens, greedy = answers(session.model(request), rows_of(request['rows']))
    return {
        'losses': encoded(losses, 'f8'),
        'tokens': encoded(tokens, 'i4'),
        'greedy': encoded(greedy, 'i4'),
    }


def representations_(session: Session, request: Json) -> Json:
    values = representations(session.model(request), rows_of(request['rows']))
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
    return {'texts': generate(session.model(request), rows, most, stops, sampling)}


def kernel_(session: Session, request: Json) -> Json:
    found = kernels(
        session.model(request),
        [rows_of(rows) for rows in request['batches']],
        [Part(**part) for part in request['parts']],
        request['blocks'],
        request['memory_mb'],
    )
    np.save(request['out'], found.values.cpu().numpy())
    return {
        'outputs': found.outputs.shape[1],
        'logits': encoded(found.outputs, 'f4'),
        'traces': encoded(np.array(found.traces), 'f8'),
    }


def values_(session: Session, request: Json) -> Json:
    write(session.training(request).values(), request['out'])
    return {}


def finite_(session: Session, request: Json) -> Json:
    return {'finite': is_finite(session.training(request))}


def keep_(session: Session, request: Json) -> Json:
    training = session.training(request)
    training.kept = training.values()
    return {}


def use_kept_(session: Session, request: Json) -> Json:
    training = session.training(request)
    if not training.kept:
        raise ValueError('no values were kept')
    put(training.trained, training.kept)
    return {}


def save_state_(session: Session, request: Json) -> Json:
    save_state(session.training(request), request['out'], request['facts'])
    return {}


def load_state_(session: Session, request: Json) -> Json:
    load_state(session.training(request), request['path'])
    return {}


def close_(session: Session, request: Json) -> Json:
    session.models.pop(request['model'], None)
    session.trainings.pop(request['model'], None)
    gc.collect()
    if session.device.type == 'cuda':
        torch.cuda.empty_cache()
    return {}


def memory_(session: Session, _request: Json) -> Json:
    if session.device.type == 'cuda':
        return {'peak_mb': torch.cuda.max_memory_allocated() / 2**20}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {'peak_mb': peak / (2**20 if sys.platform == 'darwin' else 2**10)}


OPERATIONS: dict[str, Callable[[Session, Json], Json]] = {
    'open': open_,
    'train': train_,
    'predict': predict_,
    'answers': answers_,
    'representations': representations_,
    'generate': generate_,
    'kernel': kernel_,
    'values': values_,
    'finite': finite_,
    'keep': keep_,
    'use_kept': use_kept_,
    'save_state': save_state_,
    'load_state': load_state_,
    'close': close_,
    'memory': memory_,
}
