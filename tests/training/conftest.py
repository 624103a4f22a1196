"""What the tests of the training room share: finished runs, each trained only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.runs import train

Trained = Callable[[str], Path]


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
