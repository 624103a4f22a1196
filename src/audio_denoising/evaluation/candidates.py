"""Who is judged: the noisy input as it is, versions and checkpoints, and others' denoisers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.dsp.spectrum import SAMPLE_RATE
from audio_denoising.evaluation.peers import PEERS, Cleaner, Waveform
from audio_denoising.models.shipped import has_weights, locate
from audio_denoising.models.versions import VERSIONS

NOISY = "noisy input"
MODELS = tuple(name for name in VERSIONS if has_weights(name))


@dataclass(frozen=True)
class Candidate:
    """A denoiser by name; the denoiser itself is built in the process that uses it.

    ``title`` stands in the tables; ``source`` is a version, a checkpoint file or a peer's name.
    """

    title: str
    source: str

    @property
    def is_peer(self) -> bool:
        """Whether it is a package to compare with, rather than a network of this project."""
        return self.source in PEERS

    def build(self) -> Cleaner:
        """Loads it, to run on the CPU, and tries it out.

        Raises:
            UserError: unknown name, unreadable checkpoint, or a package that is not installed.
        """
        cleaner = PEERS[self.source].clean if self.is_peer else _network(self.source)
        # Once for nothing: what the first call has to load shows here, and is not timed later.
        cleaner(np.sin(np.arange(SAMPLE_RATE), dtype=np.float32), SAMPLE_RATE)
        return cleaner

    def digest(self) -> str:
        """First half of the SHA-256 of the weights: 32 hex digits."""
        return hashlib.sha256(locate(self.source).read_bytes()).hexdigest()[:32]


def candidates(models: Sequence[str], *, peers: bool) -> list[Candidate]:
    """The candidates of a run, in the order of the tables."""
    # A checkpoint goes by its file and folder: where that folder lies is nobody's business.
    chosen = [Candidate("/".join(Path(name).parts[-2:]), name) for name in dict.fromkeys(models)]
    return chosen + ([Candidate(name, name) for name in PEERS] if peers else [])


def _network(source: str) -> Cleaner:
    denoiser = Denoiser.from_pretrained(source, device="cpu")

    def clean(noisy: Waveform, sample_rate: int) -> Waveform:
        return np.asarray(denoiser(noisy, sample_rate))

    return clean
