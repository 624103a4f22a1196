"""Architectures, built from the layers of `nn` (and, for the baseline, of torch.nn)."""

from .unet import VERSIONS, WIDTHS, Version, build

__all__ = ["VERSIONS", "WIDTHS", "Version", "build"]
