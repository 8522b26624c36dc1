"""A plugin for pytest: the threads of Numba's CUDA simulator as greenlets, which take turns at barriers.

The simulator runs an operating system's thread for each of the GPU, and polls all of them; this takes three times as
long.
"""

from types import SimpleNamespace

import numpy as np
from greenlet import getcurrent, greenlet
from numba.cuda.simulator import kernel, kernelapi

BlockThread = kernel.BlockThread


class Lane(greenlet):
    """A thread of a block, with what the simulator asks of the current thread."""

    def __init__(self, function, manager, block, thread):
        super().__init__(function)
        self._manager = manager
        self.blockIdx, self.threadIdx = kernelapi.Dim3(*block), kernelapi.Dim3(*thread)
        self.thread_id = np.ravel_multi_index(thread, manager._block_dim, order="F")

    def syncthreads(self):
        """Give way until all threads of the block have come here."""
        self.parent.switch()

    syncthreads_count = BlockThread.syncthreads_count
    syncthreads_and = BlockThread.syncthreads_and
    syncthreads_or = BlockThread.syncthreads_or


def run(self, grid_point, *arguments):
    """Run all threads of a block from one barrier to the next."""
    lanes = [Lane(lambda: self._f(*arguments), self, grid_point, point) for point in np.ndindex(*self._block_dim)]
    while lanes:
        for lane in lanes:
            lane.switch()
        lanes = [lane for lane in lanes if not lane.dead]


kernel.BlockManager.run = run
kernelapi.threading = SimpleNamespace(current_thread=getcurrent)
