"""The tiny corpus, as the tests of `corpora` have it, and what lies in a shard."""

import io
import tarfile
from pathlib import Path

from tests.corpora.conftest import server, tiny_noise, tiny_speech, write

__all__ = ["server", "tiny_noise", "tiny_speech", "write"]


def members(shard: Path) -> dict[str, bytes]:
    """Its files by their names."""
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def rewrite(shard: Path, members: dict[str, bytes], mode: str = "w") -> None:
    """Makes it of other files."""
    with tarfile.open(shard, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
