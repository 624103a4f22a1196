"""The frozen list of held-out mixtures on which every model of this project is judged.

Forty mixtures: ten LibriSpeech test-other speakers, each at 0, 5, 10 and 15 dB with another
utterance, over forty source recordings of UrbanSound8K's fold 10. Neither is ever trained or tuned
on. The list, `test_mixtures.json`, names utterances and clips as the corpora name them, so it can
be mixed again, sample for sample, by anyone who has the two corpora. `draw_list` is how it was
drawn and draws such a list from any other corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ..data.corpus import Recording
from ..data.frozen_set import LONGEST as LONGEST
from ..data.frozen_set import SHORTEST_NOISE, SHORTEST_SPEECH, Choice, draw, long_enough, render
from ..data.mixing import Waveform
from ..errors import UserError

SNRS_DB = (0, 5, 10, 15)


@dataclass(frozen=True)
class Mixture:
    """One line of the list.

    ``utterance`` and ``noise`` are file names without their ending; the noise starts ``offset``
    samples (16 kHz) into its clip and goes round where the clip ends.
    """

    speaker: str
    utterance: str
    noise: str
    offset: int
    snr_db: int


def frozen_list() -> list[Mixture]:
    """The forty mixtures, in the order of the file."""
    text = files(__package__).joinpath("test_mixtures.json").read_text(encoding="utf-8")
    return [Mixture(**line) for line in json.loads(text)["mixtures"]]


def draw_list(
    speech: Sequence[Recording], noise: Sequence[Recording], *, seed: int = 0, speakers: int = 10
) -> list[Mixture]:
    """Draws a list like the frozen one from held-out recordings.

    Args:
        speech: recordings of the test split; each group is a speaker.
        noise: recordings of the test split; a group gives its clips to as few mixtures as possible.
        seed: the same seed draws the same list from the same recordings.
        speakers: how many of the speakers are drawn.

    Returns:
        One mixture for every speaker and every level of ``SNRS_DB``, with different utterances
        where the speaker has that many.

    Raises:
        UserError: fewer speakers than wanted, or no noise that is long enough.
    """
    voices = long_enough(speech, SHORTEST_SPEECH)
    sources = long_enough(noise, SHORTEST_NOISE, audible=True)
    if len(voices) < speakers:
        raise UserError(
            f"The test list needs {speakers} held-out speakers with utterances of 3 s or more, "
            f"and only {len(voices)} were found; point --speech at a tree with test-other in it."
        )
    if not sources:
        raise UserError(
            "No held-out noise clip of 2 s or more was found for the test list; "
            "point --noise at a tree with fold10 in it."
        )
    choices = draw(voices, sources, count=speakers * len(SNRS_DB), snrs_db=SNRS_DB, seed=seed)
    return [
        Mixture(
            speaker=choice.speech.group,
            utterance=choice.speech.path.stem,
            noise=choice.noise.path.stem,
            offset=choice.offset,
            snr_db=int(choice.snr_db),
        )
        for choice in choices
    ]


def load(
    mixtures: Sequence[Mixture], speech: Sequence[Recording], noise: Sequence[Recording]
) -> Iterator[tuple[Mixture, Waveform, Waveform]]:
    """Mixes the list: yields ``(mixture, clean (L,), noisy (L,))`` at 16 kHz, L at most 8 s.

    Raises UserError, before anything is mixed, if the recordings lack a file of the list.
    """
    spoken = {recording.path.stem: recording for recording in speech}
    noisy = {recording.path.stem: recording for recording in noise}
    _require({mixture.utterance for mixture in mixtures} - spoken.keys(), "utterances", "speech")
    _require({mixture.noise for mixture in mixtures} - noisy.keys(), "noise clips", "noise")
    return (
        (mixture, *_render(mixture, spoken[mixture.utterance], noisy[mixture.noise]))
        for mixture in mixtures
    )


def _render(mixture: Mixture, speech: Recording, noise: Recording) -> tuple[Waveform, Waveform]:
    mixed = render(Choice(speech, noise, mixture.offset, mixture.snr_db))
    return mixed.clean, mixed.noisy


def _require(missing: set[str], what: str, option: str) -> None:
    if missing:
        raise UserError(
            f"{len(missing)} {what} of the test list were not found, {min(missing)} among them; "
            f"point --{option} at the corpus that the list was drawn from."
        )
