"""Statistics of batch normalisation taken anew, for weights that are not those of the last step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from audio_denoising.nn.batch_norm import BatchNorm


def take_statistics(model: Any, batches: Iterable[Tensor]) -> None:
    """Sets the running moments of a network to their means over some batches of input.

    While one trains they follow the weights of every step. An average of weights is another
    network, whose moments are other ones (Izmailov et al., "Averaging weights", UAI 2018,
    section 3.2). A network that does not normalise stays as it is, and no batch is asked for.

    Args:
        model: left in evaluation mode.
        batches: of any number, each as in training.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    if not norms:
        return
    usual = [norm.momentum for norm in norms]
    model.train()
    for count, batch in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / count
        model(batch)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    model.eval()
