"""Standing statistics: batch-norm statistics for sampling, averaged over many generated batches (1809.11096, appendix D).

Running averages of training follow weights that no longer exist and labels of one batch at a time. Standing statistics are made
for the weights at hand: forget, generate a few hundred batches, keep the plain mean of their means and variances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from biggan_scale.nn.sync_norm import BatchNorm


@torch.no_grad()
def accumulate(network: nn.Module, calls: Iterable[Callable[[], object]]) -> int:
    """Replace the running statistics of every BatchNorm in network by their averages over calls, and leave it in eval mode.

    Each call runs the network forward once. Everything but the norms is in eval mode (spectral norms stay still), and no
    messages pass between ranks: give all ranks the same calls and they end with the same statistics.

    Returns:
        The number of calls; 0 changes nothing.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    settings = [(norm.momentum, norm.unbiased, norm.synchronize) for norm in norms]
    network.eval()
    count = 0
    try:
        for count, call in enumerate(calls, start=1):
            for norm in norms:
                # momentum 1/k makes the running value the mean of k batches; the first one replaces what was there.
                norm.train()
                norm.momentum, norm.unbiased, norm.synchronize = 1 / count, False, False
            call()
    finally:
        for norm, setting in zip(norms, settings, strict=True):
            norm.momentum, norm.unbiased, norm.synchronize = setting
        network.eval()
    return count
