"""Runs worker.py, its first argument, with operations that do what a process can do wrong.

Unless STAND_IN_PACKAGES is `real`, torch, transformers and peft are empty, since to import them
takes seconds. STAND_IN_START may be `hang` or `import-error`. STAND_IN_FIFO names a named pipe: it
is open as long as the process lives, and gets its id, and a line when a request begins.
"""

import ctypes
import importlib.util
import os
import resource
import runpy
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import MagicMock

PR_SET_PDEATHSIG = 1
fifo = None


class Fault(Exception):
    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


class Session:
    def __init__(self, device, fail, rank):
        self.device = device


def status(field):
    """Return a number of kB of /proc/self/status."""
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field))


def tell(line):
    if fifo is not None:
        os.write(fifo, f'{line}\n'.encode())


def do(session, request):
    """Do what the request's `class` says."""
    what = request['class']
    tell('begun')
    result = {'model': os.getpid(), 'parameters': 0, 'trained': 0}
    if what == 'sleep':
        time.sleep(600)
    elif what == 'sleep without the signal':  # the end of the pipe has to end it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
        time.sleep(600)
    elif what == 'compute':  # no other thread of Python runs meanwhile
        ctypes.PyDLL(None).pause()
    elif what == 'print':
        print('by Python', flush=True)
        os.write(1, b'by the descriptor\n')
        libc = ctypes.CDLL(None)
        libc.puts(b'by C')
        libc.fflush(None)
    elif what == 'garbage':
        os.write(4, b'no answer\n')
        time.sleep(600)
    elif what == 'memory':
        import torch

        limit = status('VmSize') * 1024 + (1 << 28)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        torch.ones(1 << 28)
    elif what == 'no memory for Python':
        bytearray(1 << 62)
    elif what == 'device':
        raise RuntimeError('CUDA error: an illegal memory access was encountered')
    elif what == 'fault':
        raise Fault('no such checkpoint', 'name another')
    elif what == 'error':
        raise KeyError('absent')
    elif what == 'infinite':
        result['parameters'] = float('nan')
    elif what == 'exit':
        os._exit(3)
    elif what == 'usage':
        result['parameters'] = len(os.listdir('/proc/self/fd'))
        result['trained'] = status('VmRSS')
    elif what == 'child':  # how many of the protocol's descriptors it has
        held = "import os; print(sum(os.path.exists(f'/proc/self/fd/{n}') for n in (3, 4)))"
        child = subprocess.run(
            [sys.executable, '-c', held], close_fds=False, capture_output=True, check=True
        )
        result['parameters'] = int(child.stdout)
    return result


sys.argv = sys.argv[1:]
if sys.argv[1:] != ['versions']:
    operations = SimpleNamespace(OPERATIONS={'open': do}, Fault=Fault, Session=Session)
    sys.modules['operations'] = operations
    if os.environ.get('STAND_IN_PACKAGES') != 'real':
        for name in ('torch', 'transformers', 'peft'):
            sys.modules[name] = MagicMock(__spec__=importlib.util.find_spec(name))
        torch = sys.modules['torch']
        torch.OutOfMemoryError = torch.AcceleratorError = type('Never', (Exception,), {})
        torch.cuda.is_available = lambda: False
        torch.device = str
        torch.are_deterministic_algorithms_enabled = lambda: True
    if 'STAND_IN_FIFO' in os.environ:
        fifo = os.open(os.environ['STAND_IN_FIFO'], os.O_WRONLY)
        tell(os.getpid())
    start = os.environ.get('STAND_IN_START')
    if start == 'hang':
        sys.modules['torch'].set_num_threads = lambda _: time.sleep(600)
    elif start == 'import-error':
        sys.modules['peft'] = None
runpy.run_path(sys.argv[0], run_name='__main__')
