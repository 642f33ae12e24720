"""The process that computes for the backend `torch`; src/torch/worker.ts starts it.

It reads requests from file descriptor 3 and answers on 4, one JSON line each, one at a time. With
the argument `versions` it prints its packages' releases, without importing torch. With `rank`,
RANK, COUNT and FOLDER it is another process of a training (ranks.py), which reads on 0 and answers
on 1.
"""

from __future__ import annotations

import os
import sys

LISTS_VERSIONS = sys.argv[1:] == ['versions']
IS_RANK = sys.argv[1:2] == ['rank']
REQUESTS, ANSWERS = (0, os.dup(1)) if IS_RANK else (3, 4)
if not LISTS_VERSIONS:
    os.dup2(2, 1)  # before any other import, since C libraries print

import ctypes
import json
import logging
import platform
import queue
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib import metadata, util
from typing import Any

PACKAGES = ('torch', 'transformers', 'peft', 'safetensors')
OPTIONAL = ('bitsandbytes', 'lm_eval')
PR_SET_PDEATHSIG = 1

Json = dict[str, Any]

# Two threads may write an answer at once: `fail` is called from a thread of its own.
ANSWERING = threading.Lock()


def versions() -> Json:
    found: dict[str, str | None] = {}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    # find_spec does not import a package at the top level.
    spec = util.find_spec('torch')
    cuda = None
    if spec is not None and spec.origin is not None:
        file = os.path.join(os.path.dirname(spec.origin), 'version.py')
        if os.path.exists(file):
            with open(file, encoding='utf-8') as text:
                cuda = re.search(r"^cuda\b.*= '(.+)'$", text.read(), re.MULTILINE)
    return {
        'python': platform.python_version(),
        'executable': sys.executable,
        **{name: found.pop(name) for name in OPTIONAL},
        'packages': found,
        'cuda': None if cuda is None else cuda.group(1),
    }


def die_with_parent() -> None:
    """End with Node, even while a thread computes in C.

    If Node has ended before the call, the end of the pipe of requests shows it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever has started a worker ends it
    if sys.platform == 'linux':
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def read_requests() -> Iterator[Json]:
    """Yield the requests. Ends the process as soon as the pipe ends, even during a request."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(REQUESTS, 'rb', buffering=1 << 20) as pipe:
            for line in pipe:
                lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return (json.loads(lines.get()) for _ in iter(int, 1))  # for ever: int() is never 1


def answer(value: Json) -> None:
    """Write a value to Node as one line of JSON. Raises ValueError for a number not finite."""
    line = memoryview((json.dumps(value, allow_nan=False) + '\n').encode('ascii'))
    with ANSWERING:
        while line:
            line = line[os.write(ANSWERS, line) :]


def fail(error: Json) -> None:
    """Tell Node of an error, and end the process at once; any thread may call this."""
    answer({'error': error | {'ends': True}})
    os._exit(1)


def prepare(rank: int) -> tuple[Json, Any]:
    """Import and set up torch; return the facts of the handshake and the device."""
    # PEFT imports bitsandbytes wherever it is installed, and it logs which packages it recommends.
    logging.getLogger('bitsandbytes').setLevel(logging.ERROR)
    # All packages are imported now, so that one that fails is known at the start.
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    threads = int(os.environ['DOSIMETER_THREADS'])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Products in float32 keep all 23 bits of mantissa.
    torch.set_float32_matmul_precision('highest')
    torch.backends.cudnn.allow_tf32 = False
    gpu = torch.cuda.is_available()
    device = torch.device(f'cuda:{rank}' if gpu else 'cpu')
    if gpu:
        torch.cuda.set_device(device)
    facts = {
        **versions(),
        'device': str(device),
        'gpu': torch.cuda.get_device_name(device) if gpu else None,
        'threads': threads,
        'deterministic': torch.are_deterministic_algorithms_enabled(),
    }
    return facts, device


def check(device: Any) -> Json:
    import torch

    a, b = (torch.tensor(rows, device=device) for rows in ([[1.0, 2], [3, 4]], [[5.0, 6], [7, 8]]))
    return {'product': (a @ b).flatten().tolist()}


def error_of(error: BaseException, fault: type[Exception]) -> Json:
    """Return an error as src/torch/worker.ts reads it (`Answer.error`); `fault` is class Fault."""
    import torch

    message, kind = f'{type(error).__name__}: {error}', 'error'
    if isinstance(error, fault):
        message, kind = str(error), 'fault'
    elif isinstance(error, (MemoryError, torch.OutOfMemoryError)) or re.search(
        r"DefaultCPUAllocator|[Cc](an't|annot) allocate memory|out of memory", message
    ):
        kind = 'memory'
    elif isinstance(error, getattr(torch, 'AcceleratorError', ())) or re.search(
        r'CUDA error|device-side assert|(?i:cublas|cudnn|cusolver)', message
    ):
        kind = 'device'
    hint = getattr(error, 'hint', None)
    return {
        'kind': kind,
        'message': message,
        **({'hint': hint} if isinstance(hint, str) else {}),
        **({'ends': True} if hasattr(error, 'ends_process') else {}),
        'trace': ''.join(traceback.format_exception(error)),
    }


def main() -> None:
    """Serve until Node is gone."""
    die_with_parent()
    for pipe in (REQUESTS, ANSWERS):
        os.set_inheritable(pipe, False)
    requests = read_requests()
    rank = int(sys.argv[2]) if IS_RANK else 0
    try:
        ready, device = prepare(rank)
        sys.dont_write_bytecode = True  # the program's folder may belong to another user
        from operations import OPERATIONS, Fault, Session

        session = Session(device, fail, rank)
        if IS_RANK:
            from ranks import join

            join(rank, int(sys.argv[3]), sys.argv[4], device)
    except BaseException as error:
        trace = traceback.format_exc()
        answer({'failed': {'message': f'{type(error).__name__}: {error}', 'trace': trace}})
        return
    operations: dict[str, Callable[[Json], Json]] = {'check': lambda _: check(device)}
    for name, operation in OPERATIONS.items():
        operations[name] = lambda request, of=operation: of(session, request)  # type: ignore[misc]
    answer({'ready': ready})
    for request in requests:
        try:
            result = operations[request['op']](request)
            answer({'id': request['id'], 'result': {} if IS_RANK else result})
        except BrokenPipeError:
            return
        except BaseException as error:
            answer({'id': request['id'], 'error': error_of(error, Fault)})


if LISTS_VERSIONS:
    print(json.dumps(versions()))
elif __name__ == '__main__':
    main()
