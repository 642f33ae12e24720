"""Several processes that take the steps of one training, each with its own rows of every batch.

The first process is the one that Node has started, and it starts the others. It hands on every
request about the model, and all perform it in the same order, so that their collective operations
meet. The others end with the training, or with the first process, whatever they wait for.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model import Fault, OpenModel, Rows, wire_parameters

Json = dict[str, Any]

# This warning is about views that are changed in place. The module returns logits, which are views,
# but nothing changes them.
warnings.filterwarnings('ignore', message='FSDP2-wrapped module .* returned a view')

# How long a process that has reached a collective operation waits for the others, which may still
# be reading a model.
TIMEOUT = timedelta(minutes=30)
# How long a process waits before it reports an error, so that another one can report its cause.
CAUSE_SECONDS = 2.0
# The most entries of gradients that are summed at once: 64 MiB in float32.
BUCKET = 2**24


def join(rank: int, count: int, folder: str, device: torch.device) -> None:
    """Joins the process group of a training, and waits until all `count` processes have. They find
    each other by the file `store` in the folder.
    """
    # All are on this machine, and nothing else may connect.
    for library in ('GLOO', 'NCCL'):
        loopback = 'lo0' if sys.platform == 'darwin' else 'lo'
        os.environ.setdefault(f'{library}_SOCKET_IFNAME', loopback)
    on_gpu = device.type == 'cuda'
    dist.init_process_group(
        'nccl' if on_gpu else 'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=count,
        timeout=TIMEOUT,
        device_id=device if on_gpu else None,
    )


class Ranks:
    """The other processes of a training. The first process starts them and hands on requests."""

    def __init__(self, count: int, device: torch.device, fail: Callable[[Json], None]) -> None:
        """`fail` reports an error of another process, and does not return."""
        if not dist.is_available():
            raise Fault('this PyTorch has no torch.distributed', 'Leave out train.devices.')
        if device.type == 'cuda' and torch.cuda.device_count() < count:
            raise Fault(
                f'train.devices is {count}, and PyTorch sees {torch.cuda.device_count()} GPUs',
                'Lower train.devices, or run it where there are as many GPUs.',
            )
        self.count, self.device, self.report = count, device, fail
        self.threads, self.ending = torch.get_num_threads(), False
        self.folder = tempfile.mkdtemp(prefix='dosimeter-ranks-')

    def start(self) -> None:
        """Starts the others, and waits until they are ready."""
        own = max(1, self.threads // self.count)
        torch.set_num_threads(own)
        program = [sys.executable, str(Path(__file__).with_name('worker.py')), 'rank']
        self.others = [
            subprocess.Popen(
                [*program, str(rank), str(self.count), self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {'DOSIMETER_THREADS': str(own), 'OMP_NUM_THREADS': str(own)},
            )
            for rank in range(1, self.count)
        ]
        self.answers: list[queue.SimpleQueue[Json]] = [queue.SimpleQueue() for _ in self.others]
        for rank, process in enumerate(self.others, 1):
            threading.Thread(target=self.watch, args=(rank, process), daemon=True).start()
        join(0, self.count, self.folder, self.device)
        self.wait()  # until they are ready

    def watch(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        """Puts the answers of another process into its queue. Reports its errors, and its end
        unless `end` has asked for it.
        """
        name = f'process {rank + 1} of {self.count} of the training'
        for line in process.stdout or ():
            answer = json.loads(line)
            error = {'kind': 'error', **(answer.get('error') or answer.get('failed') or {})}
            if 'message' not in error:
                self.answers[rank - 1].put(answer)
                continue
            if error['kind'] != 'fault':  # a fault is the same in all processes
                error['message'] = f'{name}: {error["message"]}'
            if error['kind'] in ('error', 'device'):
                time.sleep(CAUSE_SECONDS)
            self.fail(error)
        code = process.wait()
        if not self.ending:
            how = f'exit code {code}' if code >= 0 else signal.Signals(-code).name
            kind = 'killed' if code == -signal.SIGKILL else 'device'
            self.fail({'kind': kind, 'message': f'{name} was ended by {how}'})

    def fail(self, error: Json) -> None:
        """Removes the folder, and reports an error; does not return."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.report(error)

    def perform(self, act: Callable[[], Json], request: Json) -> Json:
        """Performs a request together with the others, whose only model is number 1. `open` starts
        them, and `close` ends them. An error that is raised ends this process too.
        """
        try:
            if request['op'] == 'open':
                self.start()
            self.send(request | {'model': 1})
            result = act()
            self.wait()
            if request['op'] == 'close':
                self.end()
            return result
        except BaseException as error:
            if not isinstance(error, Fault):
                time.sleep(2 * CAUSE_SECONDS)
            shutil.rmtree(self.folder, ignore_errors=True)
            error.ends_process = True  # type: ignore[attr-defined] # the others may wait for ever
            raise

    def send(self, request: Json) -> None:
        line = (json.dumps(request) + '\n').encode('ascii')
        for process in self.others:
            if process.stdin is not None:
                process.stdin.write(line)
                process.stdin.flush()

    def wait(self) -> None:
        """Waits until each of the others has answered once."""
        for answers in self.answers:
            answers.get()

    def end(self) -> None:
        self.ending = True
        for process in self.others:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class Share:
    """The part of one process, number `rank`, in a training of `count` processes."""

    rank: int
    count: int
    device: torch.device
    # The network if its parameters are divided among the processes; None if each has all of them.
    whole: Whole | None = None

    def rows(self, rows: Rows) -> list[int]:
        """The indexes of this process's rows of a batch; may be none."""
        return list(range(self.rank, len(rows), self.count))

    def sums(self, values: Iterable[float]) -> list[float]:
        """The sum of each value over the processes."""
        total = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def largest(self, value: float) -> float:
        """The largest of the processes' values."""
        found = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.item()

    def each(self, value: Any) -> list[Any]:
        """The values of all processes, in their order."""
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sums gradients over the processes, where FSDP has not summed them already."""
        if self.whole is not None:
            return
        for part in buckets(parameters):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in part]
            total = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(total)
            sums = torch.split(total, [gradient.numel() for gradient in gradients])
            for parameter, own in zip(part, sums):
                parameter.grad = own.view_as(parameter)


def buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in order, in lists of at most BUCKET entries; a larger one is alone."""
    part: list[nn.Parameter] = []
    for parameter in parameters:
        if part and sum(p.numel() for p in part) + parameter.numel() > BUCKET:
            yield part
            part = []
        part.append(parameter)
    yield part


class Whole(nn.Module):
    """A module around the network that calls a function. Under FSDP, the parameters outside the
    layers are gathered during the call.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, act: Callable[[], Any]) -> Any:
        return act()


def shard(model: OpenModel, device: torch.device, count: int) -> Whole:
    """Divides the parameters, and with them gradients and moments, among the processes (FSDP).
    Returns the network as FSDP runs it.

    Each layer is a group, which is gathered while it runs. All else is another group.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, 'set_force_sum_reduction_for_comms'):
        raise Fault(
            f'train.fsdp needs a later release of PyTorch than {torch.__version__}',
            'Install a later one, or leave out train.fsdp.',
        )
    mesh = init_device_mesh(device.type, (count,))
    stacks = [
        (name, module)
        for name, module in model.network.named_modules()
        if isinstance(module, nn.ModuleList)
    ]
    for name, stack in stacks:
        if any(name.startswith(f'{other}.') for other, _ in stacks):
            continue
        for layer in stack:
            fully_shard(layer, mesh=mesh)
    # Parameters that stay gathered after an evaluation would miss values that are copied in later.
    whole = Whole(model.network)
    fully_shard(whole, mesh=mesh, reshard_after_forward=True)
    for module in whole.modules():
        if isinstance(module, FSDPModule):
            # Gradients are summed, not averaged, by an operation that every backend has.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    model.parameters = wire_parameters(model.network)
    model.tokens = None if model.tokens is None else model.tokens.to(device)
    return whole


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor. If it is divided among processes, it is put together in main memory;
    any other is returned as it is.
    """
    full = getattr(tensor, 'full_tensor', None)
    return tensor if full is None else full().cpu()


def divided(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`; divided among the processes in the same way, if
    `like` is divided.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return value.to(like.device)
    return distribute_tensor(
        value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is divided; any other as it is."""
    to_local = getattr(tensor, 'to_local', None)
    return tensor if to_local is None else to_local()
