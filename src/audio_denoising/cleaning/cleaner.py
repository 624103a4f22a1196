"""What cleans a signal: v5, for which no torch is loaded, or a U-Net (v2 to v4)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from audio_denoising.cleaning.causal import CausalCleaner
from audio_denoising.device import check_device_name, pick_device
from audio_denoising.errors import UserError
from audio_denoising.models.causal_weights import folded
from audio_denoising.models.header import Checkpoint, load_weights
from audio_denoising.models.versions import DEFAULT, VERSIONS, locate

if TYPE_CHECKING:
    import torch

    from audio_denoising.cleaning.windows import Model, WindowedCleaner

Cleaner: TypeAlias = "CausalCleaner | WindowedCleaner"


def load_cleaner(
    model: str | Path | Model = DEFAULT,
    *,
    name: str = "",
    device: str | torch.device = "auto",
    batch_size: int = 8,
) -> Cleaner:
    """Loads what a `Denoiser` of these arguments cleans with; UserError as there."""
    check_device_name(device)
    network: Checkpoint | Model
    if isinstance(model, str | Path):
        network = weights = load_weights(locate(model))
        name = name or f"{weights.version}-{weights.size}"
        if VERSIONS[weights.version].causal:
            if str(device) not in ("auto", "cpu"):
                pick_device(device)  # refuses what is not there
            return CausalCleaner(folded(weights.model_state), name)
    elif callable(model):
        network = model
    else:
        raise UserError(
            f"a {type(model).__name__} is no model: give the name of a version, such as v5, a "
            f"checkpoint file, or a network"
        )
    from audio_denoising.cleaning.windows import WindowedCleaner  # and torch with it

    return WindowedCleaner.of(network, name or "model", device, batch_size)
