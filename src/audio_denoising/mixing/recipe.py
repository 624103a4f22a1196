"""Every number that the training mixtures are made with."""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """How mixtures are drawn: chances from 0 to 1, ranges drawn from evenly.

    The defaults are those of v5; `PRESETS` has the others.
    """

    snr: Range = (-5.0, 20.0)
    """Level of the speech over that of the noise, in dB."""
    active_levels: bool = True
    """Whether these are the levels of what is active, as `dsp.level` measures them; otherwise the
    mean powers of the whole crops count."""
    level: Range | None = (-50.0, -10.0)
    """Active level of the mixture in dB re full scale; None leaves the speech at the level that it
    was recorded at. Peaks above full scale lower mixture and target in any case."""
    inside: bool = False
    """Whether a crop of speech lies inside its recording, and a shorter recording at a random place
    in silence; otherwise the recording starts again after a pause. Noise always starts again."""
    clean_only: float = 0.08
    """Chance of a mixture without noise."""
    noise_only: float = 0.03
    """Chance of a mixture without speech; the target is digital silence."""

    speech_active: float = 0.3
    """Share of a crop in which somebody should be speaking."""
    noise_active: float = 0.1
    """Share of a crop in which a recorded noise should be heard."""
    candidates: int = 8
    """Places in a recording that are looked at until one is active enough (else the best one)."""

    babble: float = 0.2
    """Chance that the noise is other people talking, instead of a recorded noise."""
    babble_voices: tuple[int, int] = (3, 8)
    """How many people talk, both numbers included."""
    babble_spread: Range = (-6.0, 6.0)
    """Level of each of them in dB."""
    coloured: float = 0.1
    """Chance that the noise is made instead of recorded."""
    second: float = 0.3
    """Chance that a recorded noise is added to the first noise, whichever kind that is."""
    second_level: Range = (-10.0, 5.0)
    """Its level over the first in dB."""

    speech_speed: Range = (0.85, 1.25)
    """Speed and pitch of the speech, where they are changed: children and raised voices lie higher
    than those who read aloud."""
    noise_speed: Range = (0.7, 1.4)
    """Speed and pitch of a recorded noise, where they are changed."""
    speed: float = 0.5
    """Chance of a changed speed, for speech and noises each."""
    speech_pause: Range = (0.1, 0.8)
    """Seconds of silence before a recording of speech that is too short starts again."""
    noise_pause: Range = (0.2, 2.0)
    """Seconds of silence before a recording of noise starts again, where it pauses at all."""
    pausing: float = 0.3
    """Chance that a noise pauses before it starts again; otherwise it goes on without a seam."""

    biquad: float = 0.5
    """Chance of a random filter, for speech and noise each (Valin, RNNoise, 2018)."""
    biquad_size: float = 3 / 8
    """Its four coefficients lie between minus and plus this; below 1/2 it is always stable."""
    low_pass: float = 0.1
    """Chance that mixture and target end below the top of the band, as after a telephone."""
    cutoff: Range = (4000.0, 7500.0)
    """Where they end, in Hz."""
    clipping: float = 0.02
    """Chance that the mixture is clipped, the target not."""
    clip: Range = (0.3, 0.9)
    """Where it is clipped, as a part of its peak."""

    room: float = 0.15
    """Chance that the speech is heard in a room; the target keeps the reverberation."""
    measured: float = 0.3
    """Part of the rooms that are measured ones, where there are any; the others are made."""
    t60: Range = (0.1, 0.5)
    """Reverberation time of a made room in seconds."""
    direct: Range = (-3.0, 12.0)
    """Energy of its direct sound over that of its reverberation, in dB."""


_ORIGINAL = Recipe(
    snr=(0.0, 15.0), active_levels=False, level=None, inside=True,
    clean_only=0.0, noise_only=0.0, speech_active=0.05, noise_active=0.05,
    babble=0.0, coloured=0.0, second=0.0, speed=0.0, pausing=0.0,
    biquad=0.0, low_pass=0.0, clipping=0.0, room=0.0,
)  # fmt: skip

PRESETS = {
    # The original system: speech, one noise, a ratio.
    "original": _ORIGINAL,
    # A network that always met much noise removes speech from good recordings.
    "wide": replace(_ORIGINAL, snr=(-3.0, 27.0)),
    "varied": replace(
        _ORIGINAL, snr=(-5.0, 20.0), level=(-48.0, -22.0),
        coloured=0.1, second=0.25, second_level=(-5.0, 5.0),
        speed=1.0, speech_speed=(0.9, 1.1), noise_speed=(0.8, 1.25),
        biquad=0.5, low_pass=0.2, cutoff=(2000.0, 7000.0), clipping=0.05, room=0.35, measured=0.0,
    ),
    "rich": Recipe(),
}  # fmt: skip
