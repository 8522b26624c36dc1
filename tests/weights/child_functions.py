"""Functions for `stylecore.weights.isolation` to call in a child process."""

import ctypes
import os
import sys

from stylecore.errors import WeightsError


def contents(path, suffix=""):
    with open(path, "rb") as file:
        return file.read() + suffix.encode(errors="replace")


def modules(path):
    return " ".join(sys.modules).encode()


def refuse(path):
    raise WeightsError(f"{path} is not to my taste; käse, \ud800.")


def fail(path):
    raise RuntimeError("a defect")


def crash(path):
    ctypes.string_at(0)


def abort(path):
    os.abort()


def allocate(path, size=0):
    return str(len(bytearray(size))).encode()


def spin(path):
    while True:
        pass
