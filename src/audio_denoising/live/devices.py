"""Microphones and loudspeakers, by PortAudio: found by name, with a rate that all know."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from audio_denoising.errors import UserError

Device = dict[str, Any]
"""What PortAudio knows of a device: its index, name, default rate, channels."""

_USUAL_RATES = (48_000, 44_100, 16_000)
_WORDS = {"input": "microphone", "output": "loudspeaker"}
_PORTAUDIO = {
    "linux": "apt-get install libportaudio2, or dnf install portaudio",
    "darwin": "brew install portaudio",
    "win32": "pip install --force-reinstall sounddevice",
}


def library() -> Any:
    """The module `sounddevice`, with PortAudio under it.

    Raises:
        UserError: one of them is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise UserError(
            "live sound needs sounddevice, which is not installed: pip install sounddevice"
        ) from error
    except Exception as error:  # OSError: no PortAudio. Its own: it does not start.
        how = _PORTAUDIO.get(sys.platform, "install portaudio with your system's packages")
        raise UserError(
            f"live sound needs PortAudio, which is not there ({error}): {how}"
        ) from error
    return sounddevice


def listed() -> list[str]:
    """A line for each device: index, name, channels in and out, default rate.

    Raises:
        UserError: there is none.
    """
    sound = library()
    found = sound.query_devices()
    if not found:
        raise UserError("there is no sound device: plug one in, or start the sound server")
    return [
        f"{each['index']:3}  {whole_name(each)}  "
        f"{each['max_input_channels']} in, {each['max_output_channels']} out, "
        f"{each['default_samplerate']:.0f} Hz"
        for each in found
    ]


def find(wanted: str | None, kind: Literal["input", "output"]) -> Device:
    """The device of an index or of a part of a name; None is the system's default.

    Raises:
        UserError: there is none, or there are several.
    """
    sound = library()
    try:
        name = int(wanted) if wanted is not None and wanted.isdigit() else wanted
        device: Device = sound.query_devices(name, kind)
        return device
    except (ValueError, sound.PortAudioError) as error:
        if not any(each[f"max_{kind}_channels"] for each in sound.query_devices()):
            reason = f"there is no {_WORDS[kind]}: plug one in, or start the sound server"
        elif wanted is None:
            reason = f"the system has no default {_WORDS[kind]}: choose one by --{kind}"
        elif "Multiple" in str(error):
            reason = f"--{kind} {wanted} is part of several names: give the index of one"
        else:
            reason = f"--{kind} {wanted} is no {_WORDS[kind]}: give its index or a part of its name"
        raise UserError(f"{reason} (denoise live --list shows them)") from error


def common_rate(microphone: Device, speakers: Sequence[Device]) -> int:
    """A sample rate in Hz that all of them know: best the microphone's own.

    Raises:
        UserError: there is none, or one of them cannot be used now.
    """
    sound = library()
    own = [round(each["default_samplerate"]) for each in (microphone, *speakers)]
    for rate in dict.fromkeys((*own, *_USUAL_RATES)):
        checks = [(sound.check_input_settings, microphone, 1)]
        checks += [(sound.check_output_settings, each, width(each)) for each in speakers]
        for check, device, channels in checks:
            try:
                with quiet():
                    check(device["index"], channels, "float32", samplerate=rate)
            except sound.PortAudioError as error:
                refusal = refused(device, error)
                break
        else:
            return rate
    raise refusal


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what C libraries say of their own accord off the screen: they write to descriptor 2.

    Errors must be told after it; what is told meanwhile goes to the standard output.
    """
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nothing)
        os.close(kept)


def width(speaker: Device) -> int:
    """Channels to play on: two ears where there are two."""
    return min(2, int(speaker["max_output_channels"]))


def whole_name(device: Device) -> str:
    """Its name, with that of the system's sound interface: what `find` knows it by for sure."""
    return f"{device['name']}, {library().query_hostapis(device['hostapi'])['name']}"


def refused(device: Device, error: Exception) -> UserError:
    """What to say of a device that PortAudio cannot open."""
    reason = re.sub(r" \[[^]]*\]", "", str(error))  # without codes
    return UserError(
        f"{device['name']} cannot be used ({reason}): close the program that holds it, let this "
        f"one use it, or choose another (denoise live --list shows them)"
    )
