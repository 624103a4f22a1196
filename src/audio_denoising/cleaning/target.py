"""Where the cleaned form of a recording goes, and what may be replaced there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_denoising.errors import UserError
from audio_denoising.files import require_free, same_file
from audio_denoising.media.formats import container_of


@dataclass(frozen=True)
class Target:
    """The files that come of a recording.

    Args:
        output: the file to write.
        noise: a second file, for what was taken out.
        force: replace what exists.
        in_place: ``output`` is the input, and is to be replaced.
    """

    output: Path
    noise: Path | None = None
    force: bool = False
    in_place: bool = False

    def check(self, input: Path) -> None:
        """Refuses what cannot be written, before any work.

        Raises:
            UserError: an output is the input (without ``in_place``), exists (without ``force``),
                or cannot be written.
        """
        for path in filter(None, (self.output, self.noise)):
            if same_file(path, input) and not (self.in_place and path == self.output):
                raise UserError(
                    f"{path} is the input itself: choose another output, or replace the input by "
                    f"its cleaned form with in_place=True"
                )
            require_free(path, force=self.force or (self.in_place and path == self.output))
            container_of(path)
        if self.noise is not None and same_file(self.noise, self.output):
            raise UserError(
                f"{self.noise} cannot hold both the cleaned recording and the noise: choose "
                f"another output name"
            )
