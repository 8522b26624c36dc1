"""The limit on the threads of BLAS, and the scratch memory."""

import threading

import numpy as np
import pytest
import scipy.linalg.cython_blas  # noqa: F401  (so that SciPy's BLAS is among those found below)
from threadpoolctl import ThreadpoolController

from stylecore.kernels.cpu.runtime import one_blas_thread, release_scratch, scratch

BLAS = ThreadpoolController().select(user_api="blas")


def blas_threads():
    """Numbers of threads that the BLAS libraries of NumPy and SciPy are set to."""
    return {library["num_threads"] for library in BLAS.info()}


@pytest.fixture(params=[2, 3])
def limit(request):
    """A limit that the caller has set; above one also where the machine has one core."""
    with BLAS.limit(limits=request.param):
        assert blas_threads() == {request.param}
        yield request.param


def test_one_thread_inside_and_the_callers_limit_after_it(limit):
    with one_blas_thread():
        assert blas_threads() == {1}
    assert blas_threads() == {limit}


def test_blocks_nest(limit):
    with one_blas_thread():
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {limit}


def test_limit_is_restored_after_an_error(limit):
    with pytest.raises(ZeroDivisionError), one_blas_thread(), one_blas_thread():
        raise ZeroDivisionError
    assert blas_threads() == {limit}


def test_limit_that_changes_between_blocks(limit):
    for other in (limit + 1, limit):
        with BLAS.limit(limits=other):
            with one_blas_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {other}


def test_last_thread_out_restores_the_limit(limit):
    entered, leave = threading.Barrier(3), [threading.Event(), threading.Event()]
    seen = []

    def hold(leave):
        with one_blas_thread():
            entered.wait(timeout=30)
            leave.wait(timeout=30)
            seen.append(blas_threads())

    threads = [threading.Thread(target=hold, args=(event,)) for event in leave]
    for thread in threads:
        thread.start()
    entered.wait(timeout=30)
    assert blas_threads() == {1}
    # The first that came in goes first, and the other is still held to one thread.
    leave[0].set()
    threads[0].join(timeout=30)
    assert blas_threads() == {1}
    leave[1].set()
    threads[1].join(timeout=30)
    assert seen == [{1}, {1}]
    assert blas_threads() == {limit}


def test_many_threads(limit):
    wrong = []

    def enter_and_leave():
        for _ in range(200):
            with one_blas_thread():
                if blas_threads() != {1}:
                    wrong.append(blas_threads())

    threads = [threading.Thread(target=enter_and_leave) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
    assert blas_threads() == {limit}


def test_callers_limit_ends_in_spite_of_another_thread():
    before, done = blas_threads(), threading.Event()
    entered = threading.Event()

    def enter_and_stay():
        with one_blas_thread():
            pass
        entered.set()
        done.wait(timeout=30)

    thread = threading.Thread(target=enter_and_stay)
    with BLAS.limit(limits=3):
        thread.start()
        entered.wait(timeout=30)
        assert blas_threads() == {3}
    assert blas_threads() == before
    done.set()
    thread.join(timeout=30)


@pytest.fixture
def no_scratch():
    release_scratch()
    yield
    release_scratch()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_scratch_has_the_size_and_dtype(size, dtype, no_scratch):
    block = scratch(size, dtype)
    assert block.shape == (size,) and block.dtype == dtype
    block[...] = 1
    assert block.sum() == size


def test_scratch_is_used_again_while_it_suffices(no_scratch):
    first = scratch(1000, np.float64)
    for size, dtype in ((1000, np.float64), (2000, np.float32), (10, np.float32)):
        again = scratch(size, dtype)
        assert np.shares_memory(first, again)
        assert again.ctypes.data == first.ctypes.data


def test_scratch_grows(no_scratch):
    small = scratch(10, np.float32)
    large = scratch(10_000, np.float32)
    assert not np.shares_memory(small, large)
    large[...] = 3
    assert np.shares_memory(large, scratch(10, np.float32))


def test_released_scratch_is_freed(no_scratch):
    scratch(1000, np.float32)
    former = scratch(1000, np.float32)
    release_scratch()
    assert not np.shares_memory(former, scratch(1000, np.float32))


def test_each_thread_has_its_own_scratch(no_scratch):
    mine, others = scratch(1000, np.float32), []

    def take():
        others.append((scratch(1000, np.float32), scratch(500, np.float32)))
        release_scratch()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(timeout=30)
    ((first, second),) = others
    assert np.shares_memory(first, second) and not np.shares_memory(first, mine)
    assert np.shares_memory(mine, scratch(1000, np.float32))
