"""The `denoise live` command: a microphone, cleaned while one speaks, with meters and keys."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from audio_denoising.cleaning.settings import Settings
from audio_denoising.cli.options import option, require_usable
from audio_denoising.errors import counted
from audio_denoising.media.formats import container_of
from audio_denoising.paths import require_free

if TYPE_CHECKING:
    from audio_denoising.live.running import Running
    from audio_denoising.live.session import Session
    from audio_denoising.media.writing import AudioWriter

console = Console(highlight=False, emoji=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

_MOMENT = 0.1  # seconds between two looks at the keys
_RANGE = 80.0  # dB that a meter shows
_LEVELS = ("microphone", "heard", "noise removed")
_HELP = "space: with and without · ↑ ↓: strength · q: end"
_KEY = re.compile(r"\x1b[\[O][AB]|[\0\xe0][HP]|.", re.DOTALL)
_ARROWS = {"A": 5, "B": -5, "H": 5, "P": -5}
"""Percent of strength for the end of what terminals, or Windows, send for an arrow up or down."""

_device, _sound = (partial(option, panel) for panel in ("Devices", "Sound"))


def live(
    input: Annotated[
        str | None, _device("Microphone: its index or part of its name.", "DEVICE", "the system's")
    ] = None,
    output: Annotated[
        str | None,
        _device("Where the cleaned voice goes: index or part of the name.", "DEVICE", "nowhere"),
    ] = None,
    monitor: Annotated[
        bool, _device("Play it on the system's output, too: use headphones.", names="--monitor")
    ] = False,
    list_devices: Annotated[bool, _device("Show the devices and end.", names="--list")] = False,
    strength: Annotated[float, _sound("Percent of the noise to remove.", "PERCENT")] = 100.0,
    save: Annotated[Path | None, _sound("Write the cleaned voice to a file.", "FILE")] = None,
    force: Annotated[bool, _sound("Replace the file if it exists.", names="--force")] = False,
    model: Annotated[str, _sound("v5, or a checkpoint of its kind.", "VERSION|FILE")] = "v5",
) -> None:
    """Clean a microphone while you speak, for your ears, a file or another program.

    docs/live.md tells how other programs get the cleaned voice as their microphone.

    Examples:
      denoise live --list
      denoise live --monitor
      denoise live --input USB --output pulse --save talk.flac
    """
    from audio_denoising.live import devices

    if list_devices:
        for line in devices.listed():
            console.print(line, markup=False)
        return
    Settings(strength)  # refuses what is no strength
    if save is not None:
        require_free(save, force=force)
        container_of(save)
    require_usable(model, "live sound")
    microphone = devices.find(input, "input")
    speakers = [devices.find(output, "output")] if output is not None else []
    speakers += [devices.find(None, "output")] if monitor else []
    rate = devices.common_rate(microphone, speakers)

    from audio_denoising.cleaning.denoiser import Denoiser
    from audio_denoising.live.running import Running
    from audio_denoising.live.session import Ring, Session
    from audio_denoising.media.writing import AudioWriter

    stream = Denoiser(model, device="cpu").stream(rate)
    hop = stream.latency // 2
    rings = [Ring(low=3 * hop // 2, most=rate) for _ in speakers]  # half a hop to be late by
    session = Session(stream, rings, strength)
    with devices.quiet(), Running(microphone, speakers, rate, session, rings) as running:
        writing = AudioWriter(save, rate, 1, force=force) if save is not None else nullcontext()
        reason = _run(session, running, writing)
    _print_end(session, running, save)
    if reason is not None:
        raise reason


def _run(
    session: Session, running: Running, writing: AudioWriter | nullcontext[None]
) -> BaseException | None:
    """Cleans until the user ends it, or something else does, which is returned.

    The file is whole before the devices are closed, which one that hangs may never be.
    """
    reason: BaseException | None = None
    away: str | None = None
    with ExitStack() as last, writing as writer, ThreadPoolExecutor(1) as pool:
        last.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        work = pool.submit(session.run, writer)
        try:
            running.start()
            with _keys() as pressed, Live(console=console, auto_refresh=False) as screen:
                while not work.done():
                    keys = pressed()
                    if "q" in keys:
                        break
                    _obey(keys, session)
                    running.check()
                    away = _tell(away, running.away)
                    if console.is_terminal:
                        screen.update(_meters(session, running), refresh=True)
        except KeyboardInterrupt:
            pass  # the usual end
        except (Exception, SystemExit) as error:  # SystemExit: the terminal was closed
            reason = error  # told when the file is whole
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would spoil the file
            session.end()
        if reason is not None and not session.samples:
            raise reason  # and leaves no file
    return reason or work.exception()


def _tell(before: str | None, away: str | None) -> str | None:
    """Tells of a device that has gone away, or is back; returns the one that is away now."""
    if away != before:
        told = f"{away} has stopped: waiting for it" if away else f"{before} is back"
        console.print(told, markup=False)
    return away


def _obey(keys: list[str], session: Session) -> None:
    for key in keys:
        if key == " ":
            session.bypass = not session.bypass
        elif len(key) > 1:
            session.strength = min(100.0, max(0.0, session.strength + _ARROWS[key[-1]]))


@contextmanager
def _keys() -> Iterator[Callable[[], list[str]]]:
    """Gives a function that waits a moment and returns the keys that were pressed."""
    back = ExitStack()  # to how the terminal was
    if not (sys.stdin.isatty() and console.is_terminal):

        def read() -> str:
            time.sleep(_MOMENT)
            return ""

    elif sys.platform == "win32":
        import msvcrt

        def read() -> str:
            time.sleep(_MOMENT)
            text = ""
            while msvcrt.kbhit():
                text += msvcrt.getwch()
            return text

    else:
        import termios
        import tty

        screen = sys.stdin.fileno()

        def read() -> str:
            ready = select.select([screen], [], [], _MOMENT)[0]
            return os.read(screen, 256).decode(errors="replace") if ready else ""

        back.callback(termios.tcsetattr, screen, termios.TCSADRAIN, termios.tcgetattr(screen))
        tty.setcbreak(screen)
    with back:
        yield lambda: _KEY.findall(read())


def _meters(session: Session, running: Running) -> Group:
    table = Table.grid(padding=(0, 2))
    for name, level in zip(_LEVELS, session.levels(), strict=True):
        bar = ProgressBar(total=_RANGE, completed=max(0.0, level + _RANGE), width=40)
        table.add_row(name, bar, f"{level:4.0f} dB")
    how = "off: you hear the noise" if session.bypass else f"{session.strength:g} %"
    table.add_row("strength", how)
    told = f"{_costs(session, running)}, {_faults(session)}"
    return Group(table, Text(told), Text(_HELP, style="dim"))


def _costs(session: Session, running: Running) -> str:
    latency = 1000 * (session.latency + running.latency)
    return f"processor {100 * session.load:.1f} %, latency {latency:.0f} ms"


def _faults(session: Session) -> str:
    told = f"{counted(session.underruns, 'under-run')}, {counted(session.dropped, 'block')} dropped"
    told += f", {counted(session.damaged, 'block')} damaged" if session.damaged else ""
    return told + (f", {session.skipped:.2f} s left out to catch up" if session.skipped else "")


def _print_end(session: Session, running: Running, save: Path | None) -> None:
    noisy, _, removed = session.levels(overall=True)
    console.print(
        f"{session.seconds:.1f} s, noise of {removed:.1f} dB removed, {_costs(session, running)}, "
        f"{_faults(session)}"
        + (f", {running.absence:.1f} s without a microphone" if running.lost else "")
    )
    if save is not None:
        console.print(save, markup=False)
    if session.samples and noisy <= -99:
        errors.print(
            "Warning: the microphone gave nothing but silence: is it muted, or is this program "
            "not allowed to hear it?"
        )
