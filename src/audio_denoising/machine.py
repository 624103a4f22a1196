"""What a measurement was made on, as far as it concerns whoever reads the numbers later."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def cpu_field(name: str) -> str:
    """What Linux says of the first processor, such as its "model name"; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Package -> installed version, or None."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
