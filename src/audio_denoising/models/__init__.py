"""Networks, built from the layers of `nn` (and, for the baselines, of torch.nn).

Read ``versions.py`` (which there are, and how each is trained), ``networks.py`` (which builds any),
then ``unet.py`` and ``causal.py``; ``twin.py`` has the same in torch.nn. ``header.py`` reads a
checkpoint without torch, ``checkpoint.py`` makes a network of it.
"""

from audio_denoising.models.networks import blueprint, build
from audio_denoising.models.versions import DECIBEL_IMAGE, VERSIONS, WIDTHS, Version

__all__ = ["DECIBEL_IMAGE", "VERSIONS", "WIDTHS", "Version", "blueprint", "build"]
