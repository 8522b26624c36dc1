"""The ReLU and its mask, which holds one bit per output, eight channels in a byte.

The steps work on `wide_lanes` numbers at once; a plain loop over the bits was measured to take more than ten times as
long.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from stylecore.kernels.cpu.runtime import subroutine
from stylecore.kernels.cpu.vectors import Code, wide_lanes


@intrinsic
def _bias_relu_step(typingctx, values, start, bias, first, y, at, mask, byte):
    index = types.intp

    def generate(context, builder, signature, arguments):
        values, start, bias, first, y, at, mask, byte = arguments
        number = signature.args[0].dtype
        code = Code(context, builder, number, wide_lanes(str(number)))
        values, bias, y, mask = (
            code.data(signature.args[i], array) for i, array in ((0, values), (2, bias), (4, y), (6, mask))
        )
        value = code.load(code.at(values, start)) + code.load(code.at(bias, first))
        positive = value.exceeds(code.zero())
        code.store(value.where(positive, code.zero()), code.at(y, at))
        code.store_bits(positive, code.at(mask, byte))
        return context.get_dummy_value()

    return types.void(values, index, bias, index, y, index, mask, index), generate


@intrinsic
def _gate_step(typingctx, mask, byte, source, start, target, at):
    index = types.intp

    def generate(context, builder, signature, arguments):
        mask, byte, source, start, target, at = arguments
        number = signature.args[2].dtype
        code = Code(context, builder, number, wide_lanes(str(number)))
        chosen = code.bits(code.at(code.data(signature.args[0], mask), byte))
        numbers = code.load(code.at(code.data(signature.args[2], source), start))
        code.store(numbers.where(chosen, code.zero()), code.at(code.data(signature.args[4], target), at))
        return context.get_dummy_value()

    return types.void(mask, index, source, index, target, index), generate


@subroutine
def bias_relu(
    values: np.ndarray, start: int, bias: np.ndarray, y: np.ndarray, at: int, mask: np.ndarray, byte: int
) -> None:
    """Add the bias at one position, apply the ReLU, and write the mask.

    Parameters
    ----------
    values : ndarray, flat
        Holds the K values of the position from `start` on.
    start : int
    bias : ndarray, (K,)
    y : ndarray, flat
        Gets the K results from `at` on.
    at : int
    mask : ndarray, flat uint8
        Gets the ceil(K / 8) bytes of the position from `byte` on.
    byte : int
    """
    zero, lanes = y.dtype.type(0), wide_lanes(y.dtype)
    whole = bias.size // lanes * lanes
    for k in range(0, whole, lanes):
        _bias_relu_step(values, start + k, bias, k, y, at + k, mask, byte + k // 8)
    for k in range(whole, bias.size):
        value = values[start + k] + bias[k]
        positive = value > zero
        y[at + k] = value if positive else zero
        before = mask[byte + k // 8] if k % 8 else 0
        mask[byte + k // 8] = before | positive << k % 8


@subroutine
def gate(
    mask: np.ndarray, byte: int, source: np.ndarray, start: int, channels: int, target: np.ndarray, at: int
) -> None:
    """Copy the values of one position where the mask is set, and write zero elsewhere.

    Parameters
    ----------
    mask : ndarray, flat uint8
        Holds the bytes of the position from `byte` on.
    byte : int
    source, target : ndarray, flat
        Hold the values of the position from `start` and from `at` on.
    start, channels, at : int
    """
    zero, lanes = target.dtype.type(0), wide_lanes(target.dtype)
    whole = channels // lanes * lanes
    for k in range(0, whole, lanes):
        _gate_step(mask, byte + k // 8, source, start + k, target, at + k)
    for k in range(whole, channels):
        target[at + k] = source[start + k] if mask[byte + k // 8] >> k % 8 & 1 else zero
