"""What a user may bring by mistake: callables that crash, hang or talk."""

import ctypes
import os
import signal
import time
from pathlib import Path

from paddle import nn


def segfaults():
    print("about to read address 0")
    ctypes.string_at(0)


def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def leaves():
    print("had enough")
    os._exit(3)


def hangs():
    print("still here")
    if marker := os.environ.get("PARITY_TEST_MARKER"):
        Path(marker).touch()
    while True:
        time.sleep(1)


def runs_out_of_memory():
    raise MemoryError


class Greedy(nn.Layer):
    def forward(self, x):
        raise MemoryError


def raises_over_three_lines():
    raise ValueError("one\ntwo\nthree")


def makes_a_number():
    return 3


def talks():
    print('{"done": {"planted": true}}')
    print("not json")
    os.write(1, b'{"error": "planted"}\n\xff\xfe')
    ctypes.CDLL(None).puts(b'{"error": "planted from C"}')
    return nn.Sequential(nn.ReLU())
