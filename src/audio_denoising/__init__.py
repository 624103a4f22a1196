"""Speech denoising with a U-Net whose every layer, gradient and optimiser is written from scratch.

    from audio_denoising import denoise
    cleaned = denoise(waveform, sample_rate)

The public names load on first use, so that ``import audio_denoising`` itself stays instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from audio_denoising.device import wait_briefly
from audio_denoising.errors import UserError

if TYPE_CHECKING:
    from audio_denoising.cleaning.denoiser import Denoiser, denoise, denoise_file

__version__ = "0.1.0"
__all__ = ["Denoiser", "UserError", "denoise", "denoise_file", "__version__"]

_LAZY = dict.fromkeys(("Denoiser", "denoise", "denoise_file"), "audio_denoising.cleaning.denoiser")

wait_briefly()  # here, as torch is loaded after this package by all that is in it


def __getattr__(name: str) -> Any:
    """Import a public name's module the first time the name is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
