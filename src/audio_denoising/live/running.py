"""A microphone and outputs that are open, and are opened again when one of them went away."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any

from audio_denoising.errors import UserError
from audio_denoising.live.devices import Device, find, library, refused, whole_name, width
from audio_denoising.live.session import Ring, Session
from audio_denoising.samples import Samples

_PATIENCE = 5.0  # seconds without a block, after which the microphone is taken for lost
_LONGEST = 60.0  # seconds that a lost device is waited for
_START = 2.5  # seconds that an output may take to begin
_PAUSE = 1.0  # seconds between two tries to open it


class Running:
    """A microphone that a session hears and an output for each of its rings, kept open.

    A device that goes away, or a microphone that gives nothing more, is waited for. PortAudio sees
    what is plugged in only when it begins anew, so all are closed and opened again: on a thread of
    its own, as each of these calls may hang where a sound server does.

    Attributes:
        latency: seconds that the devices add, the microphone and the slowest output.
        away: the name of the device that is waited for, or None.
        lost: how often one was.

    Raises:
        UserError: one of them cannot be used: another program has it, or this one may not.
    """

    def __init__(
        self,
        microphone: Device,
        speakers: Sequence[Device],
        rate: int,
        session: Session,
        rings: Sequence[Ring],
    ) -> None:
        self._session, self._rate, self._rings = session, rate, rings
        self._names = [whole_name(each) for each in (microphone, *speakers)]
        self._streams: list[tuple[Device, Any]] = []
        self._begun = self._since = 0.0
        self._ended = False
        self._keeper: Thread | None = None
        self.away: str | None = None
        self.lost = 0
        self._open(microphone, speakers)

    def start(self) -> None:
        """Lets sound come and go: the microphone once the outputs have filled what they buffer.

        Raises:
            UserError: one of them cannot be used.
        """
        for ring in self._rings:
            ring.begin()
        *outputs, microphone = self._streams
        for each in outputs:
            _start(*each)
        end = time.monotonic() + _START
        for (_, stream), ring in zip(outputs, self._rings, strict=True):
            filled = stream.latency * self._rate + 4 * self._session.hop
            while ring.asked < filled and time.monotonic() < end:
                time.sleep(0.005)
        _start(*microphone)
        self._since = time.monotonic()
        self._begun = self._begun or self._since

    @property
    def absence(self) -> float:
        """Seconds of which nothing was heard, until the last that was."""
        return max(0.0, self._session.heard - self._begun - self._session.seconds)

    def check(self) -> None:
        """Notices a device that has gone away, or stays away.

        Raises:
            UserError: it does, or the microphone never gave anything.
        """
        now, heard = time.monotonic(), self._session.heard
        if self.away is not None:
            if now - heard > _LONGEST:
                raise UserError(
                    f"{self.away} has gone away and was not back in {_LONGEST:g} s: plug it in "
                    f"and begin again"
                )
            return
        for device, stream in self._streams:
            if not stream.active:
                self.away = device["name"]
        if self.away is None and now - max(heard, self._since) > _PATIENCE:
            if not self._session.samples:
                raise UserError(
                    f"the microphone has given nothing for {_PATIENCE:g} s: is it still plugged "
                    f"in, and may this program use it"
                )
            self.away = self._streams[-1][0]["name"]
        if self.away is not None:
            self.lost += 1
            self._keeper = Thread(target=self._reopen, daemon=True)
            self._keeper.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        if self._keeper is not None:
            self._keeper.join(_PATIENCE)
        if self._keeper is None or not self._keeper.is_alive():
            self._keeper = Thread(target=self._close, daemon=True)
            self._keeper.start()
            self._keeper.join(_PATIENCE)
        if self._keeper.is_alive():  # it hangs, and so would PortAudio at the end of the program
            atexit.register(os._exit, 2)

    def _open(self, microphone: Device, speakers: Sequence[Device]) -> None:
        sound, session = library(), self._session

        def hear(block: Samples, frames: int, time: Any, status: Any) -> None:
            session.lost += bool(status.input_overflow)
            session.hear(block[:, 0].copy())

        def play(ring: Ring, out: Samples, frames: int, time: Any, status: Any) -> None:
            ring.underruns += ring.playing and bool(status.output_underflow)
            ring.read(out)

        plan = [
            (each, sound.OutputStream, width(each), partial(play, ring))
            for each, ring in zip(speakers, self._rings, strict=True)
        ]
        for device, kind, channels, callback in (*plan, (microphone, sound.InputStream, 1, hear)):
            how = (self._rate, session.hop // 2, device["index"], channels, "float32", "low")
            try:
                self._streams.append((device, kind(*how, callback=callback)))
            except sound.PortAudioError as error:
                self._close()
                raise refused(device, error) from error
        *outputs, ear = (float(stream.latency) for _, stream in self._streams)
        self.latency = ear + max(outputs, default=0.0)

    def _reopen(self) -> None:
        sound, (ear, *mouths) = library(), self._names
        while self.away is not None and not self._ended:
            self._close()
            try:
                with suppress(sound.PortAudioError):
                    sound._terminate()
                sound._initialize()
                self._open(find(ear, "input"), [find(name, "output") for name in mouths])
                self.start()
                self.away = None
            except (UserError, sound.PortAudioError):
                time.sleep(_PAUSE)

    def _close(self) -> None:
        while self._streams:
            self._streams.pop()[1].close()


def _start(device: Device, stream: Any) -> None:
    try:
        stream.start()
    except library().PortAudioError as error:
        raise refused(device, error) from error
