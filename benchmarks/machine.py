"""Says on what a measurement was made, so that its numbers can be read later."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

# Units for products, as Linux names them: of float32, and of bfloat16 (as vectors, as tiles).
PRODUCT_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("audio-denoising", "torch", "numpy", "soundfile", "soxr", "pesq", "pystoi")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads and the versions of what took part."""
    flags = _cpu_field("flags").split()
    description: dict[str, Any] = {
        "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
        "product_units": {name: name in flags for name in PRODUCT_UNITS},
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description


def _cpu_field(name: str) -> str:
    """What Linux says of the first processor; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
