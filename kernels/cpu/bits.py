"""ReLU and its mask, which holds one bit per output, eight channels to a byte.

The steps work on `wide_lanes` numbers at once; a plain loop over the bits was measured to take ten times as long and
more.
"""

from numba import njit, types
from numba.extending import intrinsic

from stylecore.kernels.cpu.runtime import FAST
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


@njit(**FAST)
def bias_relu(values, start, bias, y, at, mask, byte):
    """Add the bias at one position and cut at zero, and write the mask.

    Parameters
    ----------
    values : ndarray, flat
        The K numbers of the position begin at `start`.
    start : int
    bias : ndarray, (K,)
    y : ndarray, flat
        The K results begin at `at`.
    at : int
    mask : ndarray, flat uint8
        The ceil(K / 8) bytes of the position begin at `byte`.
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


@njit(**FAST)
def gate(mask, byte, source, start, channels, target, at):
    """Copy the numbers of one position where the mask is set, zero elsewhere.

    Parameters
    ----------
    mask : ndarray, flat uint8
        The bytes of the position begin at `byte`.
    byte : int
    source, target : ndarray, flat
        The numbers of the position begin at `start` and at `at`.
    start, channels, at : int
    """
    zero, lanes = target.dtype.type(0), wide_lanes(target.dtype)
    whole = channels // lanes * lanes
    for k in range(0, whole, lanes):
        _gate_step(mask, byte + k // 8, source, start + k, target, at + k)
    for k in range(whole, channels):
        target[at + k] = source[start + k] if mask[byte + k // 8] >> k % 8 & 1 else zero
