"""Fetching one file from a server that misbehaves in every way a real one has been seen to."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from audio_denoising.corpora.transfer import Transfer
from audio_denoising.corpora.watching import Watcher
from audio_denoising.errors import UserError
from tests.misbehaving_server import Page, running_server

CONTENT = random.Random(7).randbytes(1_000_000)
CUT = 400_000

Fetch = Callable[..., Transfer]


class Diary(Watcher):
    """Remembers what it is told; stops the work like Ctrl-C does after ``stop_at`` bytes."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.said: list[str] = []
        self.begun: list[tuple[str, int, int]] = []

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self.begun.append((label, total, done))

    def advance(self, done: int) -> None:
        if self.stop_at is not None and done >= self.stop_at:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def waits() -> list[float]:
    """The pauses a transfer made, none of which took any time."""
    return []


@pytest.fixture
def transfer(tmp_path: Path, waits: list[float]) -> Fetch:
    def make(*urls: str, watcher: Watcher | None = None, attempts: int = 6) -> Transfer:
        return Transfer(
            urls,
            tmp_path / "a.tar.gz",
            len(CONTENT),
            watcher or Watcher(),
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
    url = server.add("/a", Page(CONTENT, cut_at=[CUT]))
    diary = Diary()
    job = transfer(url, watcher=diary)
    job.run()
    assert arrived(job)
    assert [(r.range, r.if_range, r.sent) for r in server.requests] == [
        (None, None, CUT),
        (f"bytes={CUT}-", '"one"', len(CONTENT) - CUT),
    ]
    assert server.sent == len(CONTENT)  # not a byte twice
    assert waits == [1.0]
    assert "400000 of 1000000 bytes" in diary.said[0]


def test_ctrl_c_leaves_a_part_that_a_later_run_finishes(server, transfer) -> None:
    url = server.add("/a", Page(CONTENT))
    with pytest.raises(KeyboardInterrupt):
        transfer(url, watcher=Diary(stop_at=CUT)).run()
    job = transfer(url)
    kept = job.part.stat().st_size
    assert CUT <= kept < len(CONTENT)
    assert job.part.read_bytes() == CONTENT[:kept]
    diary = Diary()
    job = transfer(url, watcher=diary)
    job.run()
    assert arrived(job)
    assert server.requests[1].range == f"bytes={kept}-"
    assert server.requests[1].sent == len(CONTENT) - kept
    assert diary.begun == [("Fetching a.tar.gz", len(CONTENT), kept)]


def test_a_mirror_that_delivers_is_kept(server, transfer) -> None:
    first = server.add("/a", Page(CONTENT, cut_at=[CUT, CUT + 1000]))
    job = transfer(first, server.add("/b", Page(CONTENT)))
    job.run()
    assert arrived(job)
    assert [r.path for r in server.requests] == ["/a", "/a", "/a"]


def test_a_part_is_finished_on_another_mirror(server, transfer) -> None:
    first = server.add("/a", Page(CONTENT, cut_at=[CUT], etag='"first"'))
    second = server.add("/b", Page(CONTENT, etag='"second"'))
    with pytest.raises(UserError):
        transfer(first, attempts=1).run()
    server.pages["/a"].status = [503] * 9
    job = transfer(first, second)
    job.run()
    assert arrived(job)
    assert server.requests[-1].path == "/b"
    assert server.requests[-1].if_range is None  # another server's ETag says nothing here
    assert server.sent == len(CONTENT)


def test_a_file_that_changed_meanwhile_is_fetched_afresh(server, transfer) -> None:
    url = server.add("/a", Page(bytes(len(CONTENT)), cut_at=[CUT]))
    with pytest.raises(UserError):
        transfer(url, attempts=1).run()
    # The new file breaks off earlier than the old one did: nothing old may be left behind it.
    server.add("/a", Page(CONTENT, etag='"two"', cut_at=[CUT // 2]))
    job = transfer(url)
    job.run()
    assert arrived(job)
    assert [(r.range, r.if_range) for r in server.requests[1:]] == [
        (f"bytes={CUT}-", '"one"'),
        (f"bytes={CUT // 2}-", '"two"'),
    ]


def test_a_weak_etag_is_no_proof_but_a_date_is(server, transfer) -> None:
    date = "Mon, 02 Mar 2015 10:00:00 GMT"
    url = server.add(
        "/a", Page(CONTENT, cut_at=[CUT], etag='W/"weak"', headers={"Last-Modified": date})
    )
    job = transfer(url)
    job.run()
    assert arrived(job)
    assert server.requests[1].if_range == date


def test_a_server_without_ranges_starts_afresh(server, transfer) -> None:
    url = server.add("/a", Page(CONTENT, cut_at=[CUT], ranges=False))
    job = transfer(url)
    job.run()
    assert arrived(job)
    assert [r.sent for r in server.requests] == [CUT, len(CONTENT)]


def test_a_server_that_sends_another_range_is_not_believed(server, transfer) -> None:
    url = server.add("/a", Page(CONTENT, cut_at=[CUT], lie=7))
    job = transfer(url)
    job.run()
    assert arrived(job)
    assert [r.range for r in server.requests] == [None, f"bytes={CUT}-", None]


def test_bytes_of_unknown_number_arrive_too(server, transfer) -> None:
    url = server.add("/a", Page(CONTENT, cut_at=[CUT], unsized=True, etag=""))
    job = transfer(url)
    job.run()
    assert arrived(job)
    assert server.sent == len(CONTENT)


def test_a_missing_page_leads_to_the_mirror_at_once(server, transfer, waits) -> None:
    good = server.add("/b", Page(CONTENT))
    job = transfer(good.replace("/b", "/absent"), good)
    job.run()
    assert arrived(job)
    assert [r.path for r in server.requests] == ["/absent", "/b"]
    assert waits == []


def test_a_failing_server_leads_to_the_mirror(server, transfer, waits) -> None:
    bad = server.add("/a", Page(CONTENT, status=[500]))
    job = transfer(bad, server.add("/b", Page(CONTENT)))
    job.run()
    assert arrived(job)
    assert [r.path for r in server.requests] == ["/a", "/b"]
    assert waits == [1.0]


def test_pauses_double_and_end_in_one_sentence(server, transfer, waits) -> None:
    url = server.add("/a", Page(CONTENT, status=[500] * 99))
    with pytest.raises(UserError, match="answers 500 .*; run the same command again") as caught:
        transfer(url, attempts=9).run()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert len(server.requests) == 9
    assert str(caught.value).count("\n") == 0


def test_a_server_may_ask_for_a_longer_pause(server, transfer, waits) -> None:
    page = Page(CONTENT, status=[503, 429], headers={"Retry-After": "20"})
    job = transfer(server.add("/a", page))
    job.run()
    assert arrived(job)
    assert waits == [20.0, 20.0]


def test_every_address_missing_is_said_at_once(server, transfer, waits) -> None:
    urls = [server.add(f"/{name}", Page(b"")).replace(name, name + "x") for name in "ab"]
    with pytest.raises(UserError, match="/ax: .* 404 .*/bx: .* 404"):
        transfer(*urls).run()
    assert (len(server.requests), waits) == (2, [])


def test_nobody_listening_is_one_sentence(transfer) -> None:
    with running_server() as gone:
        url = gone.add("/a", Page(CONTENT))
    with pytest.raises(UserError, match="a.tar.gz could not be fetched"):
        transfer(url, attempts=2).run()


@pytest.mark.parametrize("unsized", [False, True])
@pytest.mark.parametrize("wrong", [CONTENT[:-1], CONTENT + b"x"], ids=["short", "long"])
def test_a_wrong_size_leads_to_the_mirror(server, transfer, wrong: bytes, unsized: bool) -> None:
    bad = server.add("/a", Page(wrong, unsized=unsized))
    job = transfer(bad, server.add("/b", Page(CONTENT)))
    job.run()
    assert arrived(job)
    if not unsized:
        assert server.requests[-1].range is None  # not a byte of the wrong file was taken


def test_a_wrong_size_alone_is_one_sentence(server, transfer) -> None:
    with pytest.raises(UserError, match="offers 999999 bytes instead of 1000000"):
        transfer(server.add("/a", Page(CONTENT[:-1]))).run()


def test_a_login_page_is_not_an_archive(server, transfer) -> None:
    bad = server.add("/a", Page(CONTENT, kind="text/html; charset=utf-8"))
    job = transfer(bad, server.add("/b", Page(CONTENT)))
    job.run()
    assert arrived(job)
    assert [(r.path, r.range) for r in server.requests] == [("/a", None), ("/b", None)]


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
