"""Evaluates a model on tasks of lm-evaluation-harness."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from model import Fault, OpenModel

# The loaders of `datasets` that read nothing but files.
LOADERS = ('json', 'csv', 'parquet', 'text', 'arrow')


@contextmanager
def reading_from(folder: Path | None, outside: set[str]) -> Iterator[None]:
    """Within this context, tasks find files in `folder`. The names of all that they load from
    elsewhere, other files and data sets of the hub, are added to `outside`.
    """
    import datasets

    load, before = datasets.load_dataset, os.getcwd()

    def is_inside(file: str) -> bool:
        """Whether a file lies below `folder`; False for an address, and without a folder."""
        return folder is not None and '://' not in file and folder in Path(file).resolve().parents

    def watched(path: str, *args: Any, **settings: Any) -> Any:
        files = settings.get('data_files') or []
        listed = list(files.values()) if isinstance(files, dict) else [files]
        names = [name for one in listed for name in ([one] if isinstance(one, str) else one)]
        if path not in LOADERS:
            names = [path]
        outside.update(name for name in names if not is_inside(name))
        # A new cache, because the user's cache tells files apart by their times alone.
        new_cache = {'cache_dir': cache} if path in LOADERS else {}
        return load(path, *args, **(new_cache | settings))

    with tempfile.TemporaryDirectory(prefix='dosimeter-tasks-') as cache:
        datasets.load_dataset = watched
        try:
            os.chdir(folder or before)
            yield
        finally:
            os.chdir(before)
            datasets.load_dataset = load


def load_tasks(asked: dict[str, Any], folder: Path | None) -> Any:
    """A TaskManager of lm_eval that has the tasks asked for. Raises Fault if one is unknown."""
    from lm_eval.tasks import TaskManager

    # lm_eval's own tasks are thousands of files, which need not be read if the folder has all.
    if folder is not None:
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        if all(manager.match_tasks([name]) for name in asked['tasks']):
            return manager
    manager = TaskManager(include_path=None if folder is None else str(folder))
    unknown = [name for name in asked['tasks'] if not manager.match_tasks([name])]
    if unknown:
        raise Fault(
            f'lm_eval has no task {unknown[0]}',
            '`python -m lm_eval ls tasks` lists its own; yours are found in the folder that '
            'evaluate.lm_eval.include names.',
        )
    return manager


def harness(model: OpenModel, asked: dict[str, Any]) -> dict[str, Any]:
    """Evaluates a model on tasks (`harness` of src/torch/protocol.ts), as the command line of
    lm-evaluation-harness does.
    """
    # lm_eval is imported here, because that takes seconds.
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    tokenizer = AutoTokenizer.from_pretrained(asked['tokenizer'], local_files_only=True)
    if asked['chat_template'] and not tokenizer.chat_template:
        raise Fault("the model's tokenizer has no chat template", 'Leave chat_template out.')
    folder = None if asked['include'] is None else Path(asked['include']).resolve()
    outside: set[str] = set()
    with reading_from(folder, outside), torch.random.fork_rng():
        try:
            found: Any = simple_evaluate(
                model=HFLM(
                    pretrained=model.network,
                    tokenizer=tokenizer,
                    backend='causal',
                    batch_size=asked['batch_size'],
                ),
                tasks=asked['tasks'],
                task_manager=load_tasks(asked, folder),
                num_fewshot=asked['num_fewshot'],
                limit=asked['limit'],
                batch_size=asked['batch_size'],
                apply_chat_template=asked['chat_template'],
                log_samples=False,
            )
        except (ConnectionError, FileNotFoundError, ValueError) as error:
            raise Fault(
                f'lm_eval can not evaluate {", ".join(asked["tasks"])}: {error}',
                'Nothing is downloaded here: put a data set of the hub into its cache before, or '
                'describe a task with files of its own in the folder evaluate.lm_eval.include.',
            ) from error
    return {
        'metrics': {
            task: {metric_name(key): value for key, value in own.items() if is_metric(key, value)}
            for task, own in (found['results'] | found.get('groups', {})).items()
        },
        'examples': {task: count['effective'] for task, count in found['n-samples'].items()},
        'shots': found['n-shot'],
        'versions': found['versions'],
        'outside': sorted(outside),
    }


def metric_name(key: str) -> str:
    """The name of a metric: `acc` for lm_eval's key `acc,none`; `exact_match.strict` for the key
    `exact_match,strict`, where `strict` is a filter.
    """
    metric, _, chosen = key.partition(',')
    return metric if chosen == 'none' else f'{metric}.{chosen}'


def is_metric(key: str, value: Any) -> bool:
    """Whether a result is a metric: a finite number whose key names a filter, as in `acc,none`."""
    return ',' in key and isinstance(value, (int, float)) and math.isfinite(value)
