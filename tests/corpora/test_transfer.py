"""Fetching one file from a server that misbehaves in every way a real one has been seen to."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from audio_denoising.corpora.transfer import Transfer, TransferDisplay
from audio_denoising.errors import UserError
from tests.misbehaving_server import Page, running_server

CONTENT = random.Random(7).randbytes(1_000_000)
CUT = 400_000

Fetch = Callable[..., Transfer]


class Diary(TransferDisplay):
    """Remembers what it is told; stops the work like Ctrl-C does after ``stop_at`` bytes."""

    def __init__(self, stop_at: int = 2 * len(CONTENT)) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.said: list[str] = []
        self.begun: list[tuple[str, int, int]] = []

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self.begun.append((label, total, done))

    def reach(self, done: int) -> None:
        if done >= self.stop_at:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def waits() -> list[float]:
    """The pauses a transfer made, none of which took any time."""
    return []


@pytest.fixture
def transfer(tmp_path: Path, waits: list[float]) -> Fetch:
    def make(*urls: str, display: TransferDisplay | None = None, attempts: int = 6) -> Transfer:
        return Transfer(
            urls,
            tmp_path / "a.tar.gz",
            len(CONTENT),
            display or TransferDisplay(),
            attempts=attempts,
            timeout=5.0,
            sleep=waits.append,
        )

    return make


def arrived(transfer: Transfer) -> bool:
    """The file is whole and nothing lies beside it."""
    names = [path.name for path in transfer.target.parent.iterdir()]
    return names == [transfer.target.name] and transfer.target.read_bytes() == CONTENT


def test_a_transfer_cut_at_forty_percent_resumes(server, transfer, waits) -> None:
    diary = Diary()
    job = transfer(server.add("/a", Page(CONTENT, cut_at=[CUT])), display=diary)
    job.run()
    assert arrived(job)
    ranges = [(request.range, request.sent) for request in server.requests]
    assert ranges == [(None, CUT), (f"bytes={CUT}-", len(CONTENT) - CUT)]  # not a byte twice
    assert waits == [1.0]
    assert "400000 of 1000000 bytes" in diary.said[0]


def test_ctrl_c_leaves_a_part_that_a_later_run_finishes(server, transfer) -> None:
    url = server.add("/a", Page(CONTENT))
    with pytest.raises(KeyboardInterrupt):
        transfer(url, display=Diary(stop_at=CUT)).run()
    diary = Diary()
    job = transfer(url, display=diary)
    kept = job.part.stat().st_size
    assert CUT <= kept < len(CONTENT)
    assert job.part.read_bytes() == CONTENT[:kept]
    job.run()
    assert arrived(job)
    assert server.requests[1].range == f"bytes={kept}-"
    assert diary.begun == [("Fetching a.tar.gz", len(CONTENT), kept)]


def test_a_mirror_that_delivers_is_kept_and_another_finishes_its_part(server, transfer) -> None:
    first = server.add("/a", Page(CONTENT, cut_at=[CUT, CUT + 1000]))
    second = server.add("/b", Page(CONTENT))
    with pytest.raises(UserError, match="the 401000 bytes that arrived are kept"):
        transfer(first, second, attempts=2).run()
    assert [r.path for r in server.requests] == ["/a", "/a"]
    server.pages["/a"].status = [503] * 9
    job = transfer(first, second)
    job.run()
    assert arrived(job)
    assert server.requests[-1].path == "/b"
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize(
    ("page", "sent"),
    [
        (Page(CONTENT, cut_at=[CUT], ranges=False), [CUT, len(CONTENT)]),  # starts afresh
        (Page(CONTENT, cut_at=[CUT], lie=7), [CUT, len(CONTENT) - CUT, len(CONTENT)]),
        (Page(CONTENT, cut_at=[CUT], unsized=True), [CUT, len(CONTENT) - CUT]),
    ],
    ids=["without ranges", "another range than asked for", "of unknown length"],
)
def test_answers_that_are_odd(page: Page, sent: list[int], server, transfer) -> None:
    job = transfer(server.add("/a", page))
    job.run()
    assert arrived(job)
    assert [request.sent for request in server.requests] == sent


@pytest.mark.parametrize(
    ("page", "pauses"),
    [
        (Page(CONTENT, status=[404]), []),
        (Page(CONTENT, status=[500]), [1.0]),
        (Page(CONTENT[:-1]), []),
        (Page(CONTENT + b"x"), []),
        (Page(CONTENT + b"x", unsized=True), []),
        (Page(CONTENT, kind="text/html; charset=utf-8"), []),  # a login page
    ],
    ids=["missing", "failing", "too short", "too long", "too long unsaid", "a web page"],
)
def test_a_server_that_does_not_deliver_leads_to_the_mirror(
    page: Page, pauses: list[float], server, transfer, waits
) -> None:
    job = transfer(server.add("/a", page), server.add("/b", Page(CONTENT)))
    job.run()
    assert arrived(job)
    assert [(r.path, r.range) for r in server.requests] == [("/a", None), ("/b", None)]
    assert waits == pauses


def test_pauses_double_and_end_in_one_sentence(server, transfer, waits) -> None:
    url = server.add("/a", Page(CONTENT, status=[500] * 99))
    with pytest.raises(UserError, match="answers 500 .*; run the same command again") as caught:
        transfer(url, attempts=9).run()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert str(caught.value).count("\n") == 0


def test_a_server_may_ask_for_a_longer_pause(server, transfer, waits) -> None:
    page = Page(CONTENT, status=[503, 429], headers={"Retry-After": "20"})
    job = transfer(server.add("/a", page))
    job.run()
    assert arrived(job)
    assert waits == [20.0, 20.0]


def test_hopeless_addresses_are_one_sentence(server, transfer, waits) -> None:
    urls = [server.add(f"/{name}", Page(b"")).replace(name, name + "x") for name in "ab"]
    with pytest.raises(UserError, match="/ax: .* 404 .*/bx: .* 404"):
        transfer(*urls).run()
    assert (len(server.requests), waits) == (2, [])
    with pytest.raises(UserError, match="offers 999999 bytes instead of 1000000"):
        transfer(server.add("/a", Page(CONTENT[:-1]))).run()
    with running_server() as gone:
        url = gone.add("/a", Page(CONTENT))
    with pytest.raises(UserError, match="a.tar.gz could not be fetched"):
        transfer(url, attempts=2).run()


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_too_long(server, transfer, size: int) -> None:
    job = transfer(server.add("/a", Page(CONTENT)))
    job.part.write_bytes((CONTENT + bytes(5))[:size])
    job.run()
    assert arrived(job)
    assert len(server.requests) == (0 if size == len(CONTENT) else 1)


def test_a_disk_that_fills_up_keeps_what_arrived(server, transfer) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    job = transfer(server.add("/a", Page(CONTENT)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot grow .*what has arrived is kept"):
            job.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert job.part.read_bytes() == CONTENT[:CUT]
    job.run()
    assert arrived(job)
    assert server.requests[-1].range == f"bytes={CUT}-"
