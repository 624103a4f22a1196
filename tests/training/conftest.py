"""What the tests of the training room share: finished runs, each trained only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audio_denoising.models.checkpoint import Checkpoint, load_checkpoint
from tests.training.runs import train

Trained = Callable[[str], Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """``trained("v4")`` is the folder of a run of one epoch in the small size."""
    folders: dict[str, Path] = {}

    def folder(version: str) -> Path:
        if version not in folders:
            folders[version] = tmp_path_factory.mktemp(version) / "run"
            assert train(folders[version], version, narrow=False, epochs=1)
        return folders[version]

    return folder


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """``straight("v4")`` is the folder of a narrow run of two epochs that nobody interrupted."""
    folders: dict[str, Path] = {}

    def folder(version: str) -> Path:
        if version not in folders:
            folders[version] = tmp_path_factory.mktemp(version) / "run"
            assert train(folders[version], version)
        return folders[version]

    return folder


@pytest.fixture(scope="session")
def v4(trained: Trained) -> Checkpoint:
    """A checkpoint of the from-scratch engine."""
    return load_checkpoint(trained("v4") / "last.pth")
