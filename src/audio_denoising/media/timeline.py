"""One continuous time for a file whose time stamps jump, begin anywhere, or lack a piece of sound.

A file's stamps are promises that broadcasts, joined files and cameras do not keep: they wrap
around, begin again in the middle, or leap ahead by hours. `steady_packets` takes such leaps out of
all streams alike, so that whoever walks a file through it, to decode the sound or to copy the
picture, sees the same time. `with_gaps` then tells where in that time sound is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

BREAKS = 0x200  # FFmpeg's flag AVFMT_TS_DISCONT: the stamps of such a format may break off
_BACK = 0.1  # seconds: stamps of interleaved packets may go back by less
# Seconds that stamps may go ahead. Where a format allows them to break off, ten is a break, as
# FFmpeg has it; elsewhere a pause (a slide show, a screen recording) may last.
_AHEAD, _PAUSE = 10.0, 3600.0
_PRIMING = 0.15  # seconds that an encoder's delay may begin before zero
_MOST_REFUSALS = 1000  # damaged places in a file
# Seconds: containers round stamps to a millisecond; small differences may add up to this.
_ROUNDING, _DRIFT = 0.002, 0.1
_MOST_OVERLAP = 0.5  # seconds, and a hundredth of the sound on top
_WINDOW = 0.3  # seconds of frames that must agree on it: single stamps are wrong now and then


@dataclass
class _Track:
    """What was last seen of a stream."""

    segment: int  # which offset holds for it
    due: float  # when its next packet is to be decoded, in seconds of the continuous time
    before: float  # the same, one packet ago


class Timeline:
    """Moves the stamps of a file's packets, in the order of the file, onto one continuous time.

    Where a stream's stamps break off, a new offset begins, which follows on all that was shown so
    far. Every stream keeps its offset until its own stamps break off: a stream that lags behind in
    the file still has some packets from before.
    """

    def __init__(self, container: InputContainer) -> None:
        broken = bool(container.format.flags & BREAKS)
        self._limit = _AHEAD if broken else _PAUSE
        starts = [_start(stream) for stream in container.streams if _leads(stream)]
        start = min(starts, default=0.0)
        # Such formats begin anywhere. Before zero the sound's own priming may begin, nothing else.
        self._offsets = [-start if broken or start < 0 or start > _PAUSE else 0.0]
        self._tracks: dict[int, _Track] = {}
        self._end = 0.0  # of what was shown so far

    def place(self, packet: Packet) -> bool:
        """Correct ``pts`` and ``dts`` of a packet; tell whether its stream has a new offset."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return False
        unit = float(packet.time_base)
        shown = (packet.pts if packet.pts is not None else stamp) * unit
        length = (packet.duration or 0) * unit
        segment = len(self._offsets) - 1
        moved = False
        if _leads(packet.stream):
            track = self._tracks.get(packet.stream.index)
            # A picture without decoding time is shown earlier or later than the one before it.
            if packet.dts is not None or packet.stream.type == "audio":
                segment = self._segment(stamp * unit, shown, track)
                moved = track is not None and track.segment != segment
                due = stamp * unit + self._offsets[segment] + length
                before = due - length if track is None else track.due
                self._tracks[packet.stream.index] = _Track(segment, due, before)
            elif track is not None:
                segment = track.segment
            self._end = max(self._end, shown + self._offsets[segment] + length)
        shift(packet, self._offsets[segment])
        return moved

    def _segment(self, stamp: float, shown: float, track: _Track | None) -> int:
        """The offset that makes a packet follow on; a new one where none of the last ones does."""
        last = len(self._offsets) - 1
        if track is None:
            if not self._tracks or abs(shown + self._offsets[last] - self._end) < self._limit:
                return last
        else:
            wait = stamp + self._offsets[track.segment] - track.due
            if (
                -_BACK < wait < 1
                or abs(stamp + self._offsets[track.segment] - track.before) < _BACK
            ):
                return track.segment
            recent = range(max(0, last - 2), last + 1)
            best = min(recent, key=lambda k: abs(stamp + self._offsets[k] - track.due))
            wait = stamp + self._offsets[best] - track.due
            # Against all streams: one may pause while others go on.
            if wait > -_BACK and shown + self._offsets[best] < self._end + self._limit:
                return best
        self._offsets.append(self._end - shown)
        return last + 1


def shift(packet: Packet, seconds: float) -> None:
    """Moves both stamps of a packet."""
    if ticks := round(seconds / float(packet.time_base)):
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


class Mark(Enum):
    """What stands between packets or frames."""

    DAMAGE = "something cannot be read"
    SEAM = "stamps broke off, what follows has a new offset"


def steady_packets(container: InputContainer) -> Generator[Packet | Mark, None, None]:
    """All packets of a file with continuous stamps, each seam marked before what follows it."""
    timeline = Timeline(container)
    packets = container.demux()
    for _ in range(_MOST_REFUSALS):
        try:
            for packet in packets:
                if timeline.place(packet):
                    yield Mark.SEAM
                yield packet
            return
        except av.InvalidDataError:  # read on behind the damaged place
            yield Mark.DAMAGE
            packets = container.demux()
        except av.FFmpegError:
            yield Mark.DAMAGE
            return
        except IndexError:  # at the end PyAV stumbles over streams that appeared on the way
            return


def with_gaps(
    frames: Iterator[AudioFrame | Mark], *, together: bool, step: float
) -> Generator[tuple[float, AudioFrame | Mark], None, None]:
    """Each frame of sound with the seconds missing before it, negative where it overlaps.

    Args:
        frames: with marks, behind which no difference is too small to count.
        together: other streams have to stay in time with the sound; else none of it is left out
            for overlapping. Nor is much of it, since stamps may stand still.
        step: seconds by which sound must be missing or overlap at one place to count.
    """
    waiting: deque[AudioFrame | Mark] = deque()
    held = 0.0  # seconds of sound that wait
    origin: float | None = None
    position = 0.0  # seconds of sound so far, with what was missing
    overlap = 0.0  # seconds that were told of
    last = 0.0  # how late the last frame was
    careful = 0.0  # until when differences behind a mark are looked for
    while True:
        for frame in frames:
            waiting.append(frame)
            held += _seconds(frame)
            if held > _WINDOW:
                break
        if not waiting:
            return
        frame = waiting.popleft()
        held -= _seconds(frame)
        gap = 0.0
        if isinstance(frame, Mark) or (now := _stamp(frame)) is None:
            careful = position + _WINDOW  # without a stamp FFmpeg has lost its place
        elif origin is None:
            origin, careful = now - position, 0.0
        else:
            late = now - origin - position
            gap = _agreed(late, waiting, origin + position + _seconds(frame))
            least = _ROUNDING if position < careful else step
            if abs(gap) < (least if abs(late - last) >= least else _DRIFT):
                gap = 0.0
            elif gap < 0 and (not together or overlap - gap > _MOST_OVERLAP + position / 100):
                origin, late, gap = origin + gap, late - gap, 0.0
            last = late - gap
            overlap -= min(gap, 0.0)
            if gap:
                careful = position + _WINDOW
        position += gap + _seconds(frame)
        yield gap, frame


def _agreed(late: float, waiting: Iterable[AudioFrame | Mark], position: float) -> float:
    """As much of the lateness of a frame as those behind it share."""
    for frame in waiting:
        if isinstance(frame, Mark) or abs(late) < _ROUNDING:
            break
        if (stamp := _stamp(frame)) is not None:
            other = stamp - position
            late = max(0.0, min(late, other)) if late > 0 else min(0.0, max(late, other))
        position += _seconds(frame)
    return late


def _seconds(frame: AudioFrame | Mark) -> float:
    return 0.0 if isinstance(frame, Mark) else frame.samples / frame.sample_rate


def _stamp(frame: AudioFrame) -> float | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)


def _leads(stream: Stream) -> bool:
    """Whether a stream's packets tell of the time: covers and subtitles come now and then."""
    cover = bool(stream.disposition & Disposition.attached_pic)
    return stream.type in ("audio", "video") and not cover


def _start(stream: Stream) -> float:
    """Where a stream begins, in seconds."""
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    start = float(stream.start_time * stream.time_base)
    return 0.0 if stream.type == "audio" and -_PRIMING < start < 0 else start
