"""Every number that the training mixtures are made with."""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """How mixtures are drawn: chances from 0 to 1, ranges drawn from evenly.

    The defaults are those of v5; `PRESETS` has the others.
    """

    snr: Range = (-5.0, 20.0)  # level of the speech over that of the noise, in dB
    # Of what is active, as `dsp.level` measures it; else the mean powers of the whole crops count.
    active_levels: bool = True
    # Active level of the mixture in dB re full scale; None leaves the speech at the level that it
    # was recorded at. Peaks above full scale lower mixture and target in any case.
    level: Range | None = (-50.0, -10.0)
    # A crop of speech lies inside its recording, and a shorter recording at a random place in
    # silence; else the recording starts again after a pause. Noise always starts again.
    inside: bool = False
    clean_only: float = 0.08  # chance of a mixture without noise
    noise_only: float = 0.03  # chance of a mixture without speech; the target is digital silence

    speech_active: float = 0.3  # share of a crop in which somebody should be speaking
    noise_active: float = 0.1  # share of a crop in which a recorded noise should be heard
    candidates: int = 8  # places in a recording tried until one is active enough (else the best)

    babble: float = 0.2  # chance that the noise is other people talking, not a recorded one
    babble_voices: tuple[int, int] = (3, 8)  # how many people talk, both numbers included
    babble_spread: Range = (-6.0, 6.0)  # level of each of them in dB
    coloured: float = 0.1  # chance that the noise is made instead of recorded
    second: float = 0.3  # chance that a recorded noise is added to the first, whichever that is
    second_level: Range = (-10.0, 5.0)  # its level over the first in dB

    # Speed and pitch of the speech, where they are changed: children and raised voices lie higher
    # than those who read aloud, and a voice higher than any that was met is taken for noise.
    speech_speed: Range = (0.85, 1.6)
    noise_speed: Range = (0.7, 1.4)  # speed and pitch of a recorded noise, where they are changed
    speed: float = 0.5  # chance of a changed speed, for speech and noises each
    speech_pause: Range = (0.1, 0.8)  # s of silence before speech that is too short starts again
    noise_pause: Range = (0.2, 2.0)  # s of silence before a noise that pauses starts again
    pausing: float = 0.3  # chance that a noise pauses; else it goes on without a seam

    biquad: float = 0.5  # chance of a random filter, for speech and noise each (RNNoise, 2018)
    biquad_size: float = 3 / 8  # of its four coefficients at most; below 1/2 it is always stable
    # Chance that mixture and target end below the band, as by telephone. A network that never met a
    # voice without its bass takes it for noise.
    low_pass: float = 0.2
    cutoff: Range = (3000.0, 7500.0)  # where they end, in Hz
    high_pass: float = 0.5  # part of these that begin above the bass as well
    rise: Range = (50.0, 450.0)  # where they begin, in Hz
    clipping: float = 0.02  # chance that the mixture is clipped, the target not
    clip: Range = (0.3, 0.9)  # where it is clipped, as a part of its peak
    # Chance that something falls or slams, so loud and short that what remembers may forget the
    # voice over it: noise that dies away, over the active level of all else.
    knock: float = 0.1
    knock_level: Range = (10.0, 45.0)  # at its beginning, in dB
    knock_length: Range = (0.02, 0.3)  # s
    knock_decay: Range = (0.0, 5.0)  # by the end it has fallen to exp(-decay)
    # Chance that from some moment on all is louder or fainter, as from one talker to another.
    change: float = 0.15
    change_level: Range = (-30.0, 30.0)  # by how much, in dB

    room: float = 0.15  # chance that speech is heard in a room; the target keeps the reverberation
    measured: float = 0.3  # part of the rooms that are measured ones, if any; the others are made
    t60: Range = (0.1, 0.5)  # reverberation time of a made room in seconds
    direct: Range = (-3.0, 12.0)  # energy of its direct sound over that of its reverberation, in dB


_ORIGINAL = Recipe(
    snr=(0.0, 15.0), active_levels=False, level=None, inside=True,
    clean_only=0.0, noise_only=0.0, speech_active=0.05, noise_active=0.05,
    babble=0.0, coloured=0.0, second=0.0, speed=0.0, pausing=0.0,
    biquad=0.0, low_pass=0.0, clipping=0.0, room=0.0, knock=0.0, change=0.0,
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
        biquad=0.5, low_pass=0.2, cutoff=(2000.0, 7000.0), high_pass=0.0,
        clipping=0.05, room=0.35, measured=0.0,
    ),
    "rich": Recipe(),
}  # fmt: skip

# What judges v5. Mixtures without noise, or without speech, have no ratio to improve; a knock alone
# would decide it, and so would the louder part of a mixture whose level changes.
JUDGED = Recipe(clean_only=0.0, noise_only=0.0, knock=0.0, change=0.0)
