"""Says on what a measurement was made, so that its numbers can be read later."""

import os
import platform
from typing import Any

import torch

from audio_denoising.machine import cpu_field, versions

PRODUCT_UNITS = ("avx2", "avx512f")  # units for products of float32, as Linux names them
PACKAGES = ("audio-denoising", "torch", "numpy", "soundfile", "soxr", "av")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads and the versions of what took part."""
    flags = cpu_field("flags").split()
    family, model = cpu_field("cpu family"), cpu_field("model")
    description: dict[str, Any] = {
        "cpu": cpu_field("model name") or platform.processor() or platform.machine(),
        "cpu_model": f"family {family}, model {model}" if family else "",
        "product_units": {name: name in flags for name in PRODUCT_UNITS},
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description
