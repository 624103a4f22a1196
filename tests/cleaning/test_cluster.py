"""A cluster: a killed worker loses nothing, what exists is left out, addresses are served."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from torch import Tensor

from audio_denoising.cleaning import cluster, storage
from audio_denoising.cleaning.batch import Outcome
from audio_denoising.cleaning.cleaner import Cleaner, load_cleaner
from audio_denoising.cleaning.denoiser import Denoiser
from audio_denoising.cleaning.settings import Settings
from audio_denoising.cli import app as cli
from audio_denoising.errors import UserError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """Where workers keep what is not complete, on a Ray of this machine for all tests below."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no worker can import it
    # Not pytest's folder: Ray puts its sockets there, whose names may have a hundred characters.
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        with cluster.connected("local"):  # it takes seconds to start
            assert ray.is_initialized()
            yield Path(folder)
    assert not ray.is_initialized()


def recordings(folder: Path, count: int) -> Path:
    """Short recordings of different lengths."""
    folder.mkdir()
    for number in range(count):
        x = 0.1 * np.random.default_rng(number).standard_normal(5000 + 1000 * number)
        soundfile.write(folder / f"{number:02}.wav", x, 16_000)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """All files in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def denoise(*arguments: object) -> int:
    """Runs `denoise clean` in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["denoise", "clean", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return int(end.value.code or 0)


def halving(image: Tensor) -> Tensor:
    return image * 0.5


@pytest.mark.usefixtures("temporary")
def test_a_run_goes_on_where_it_stopped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Only what is missing is made; a file that fails is told of and does not stop the others."""
    folder = recordings(tmp_path / "in", 5)
    out = tmp_path / "out"
    (folder / "02.wav").write_text("no recording")
    # One worker does it all: to start another takes longer.
    more = ("--ray", "local", "--jobs", 1, "--save-noise")
    command = (f"file://{folder}", "-o", f"file://{out}", *more)
    assert denoise(*command) == 1
    told = capfd.readouterr()
    assert "Error: " in told.err and f"{folder}/02.wav is not" in told.err.replace("\n", " ")
    assert "1 of 5 files failed" in told.err and "4 files" in told.out
    made = content(out)
    assert sorted(made) == [f"0{n}{kind}.wav" for n in (0, 1, 3, 4) for kind in ("", "_noise")]

    (out / "01.wav").unlink()
    (out / "03_noise.wav").unlink()
    recordings(tmp_path / "again", 3)
    (tmp_path / "again" / "02.wav").rename(folder / "02.wav")
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert denoise(*command) == 0
    assert "2 of 5 files left out" in capfd.readouterr().out
    assert made.items() <= content(out).items() and len(content(out)) == 10
    kept = [name for name, time in times.items() if (out / name).stat().st_mtime_ns == time]
    assert sorted(kept) == ["00.wav", "00_noise.wav", "04.wav", "04_noise.wav"]
    assert denoise(*command) == 0  # all is there
    assert "5 of 5 files left out" in capfd.readouterr().out


def register_bucket(root: Path) -> None:
    """Makes bucket:// a storage far away: a folder here, which fails as storage does.

    The class stands in here because it cannot travel to a worker, a function can.
    """

    class Bucket(DirFileSystem):  # type: ignore[misc]
        protocol = "bucket"

        def __init__(self, root: str = "", **options: Any) -> None:
            super().__init__(path=root, fs=LocalFileSystem(), **options)

        def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
            if rpath.endswith("00.wav") and self.first("got"):
                raise ConnectionResetError("connection reset")
            super().get_file(rpath, lpath, **options)

        def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
            if Path(lpath).name == "01.wav" and self.first("put"):
                half = Path(lpath).read_bytes()[:5000]
                Path(self.path, rpath).write_bytes(half)
                os.kill(os.getpid(), signal.SIGKILL)
            super().put_file(lpath, rpath, **options)

        def first(self, what: str) -> bool:
            marker = Path(f"{self.path}.{what}")
            first = not marker.exists()
            marker.touch()
            return first

    fsspec.register_implementation("bucket", Bucket, clobber=True)
    fsspec.config.conf["bucket"] = {"root": str(root)}


def on_bucket(root: Path, inputs: list[str], output: str) -> list[Outcome]:
    def load() -> Cleaner:
        register_bucket(root)
        return load_cleaner(halving, name="halving")

    register_bucket(root)
    planned = storage.plan(inputs, output, recursive=True)[0]
    return list(cluster.run(storage.pending(planned, output), Settings(), load, at_once=1))


@pytest.mark.slow
def test_addresses_are_fetched_and_published_whole(tmp_path: Path, temporary: Path) -> None:
    """Storage that fails is tried again; a worker killed while it uploads leaves nothing behind."""
    root = tmp_path / "bucket"
    root.mkdir()
    folder = recordings(root / "talks", 3)
    (folder / "deep").mkdir()
    (folder / "02.wav").rename(folder / "deep" / "c.wav")
    (folder / "b.wav").write_text("no recording")
    results = on_bucket(root, ["bucket://talks"], "bucket://clean")
    assert (tmp_path / "bucket.got").exists() and (tmp_path / "bucket.put").exists()
    assert [result.job.input for result in results if result.sentence] == ["bucket://talks/b.wav"]
    assert "bucket://talks/b.wav is not an audio file" in max(r.sentence for r in results)
    files = sorted(path.relative_to(root).as_posix() for path in root.glob("clean/**/*.*"))
    assert files == ["clean/00.wav", "clean/01.wav", "clean/deep/c.wav"]
    for name in files:
        made = tmp_path / "alone" / name
        made.parent.mkdir(parents=True, exist_ok=True)
        source = folder / Path(name).relative_to("clean")
        Denoiser(halving).denoise_file(source, made)
        assert made.read_bytes() == (root / name).read_bytes()
    assert not list(temporary.glob("denoise-*"))
    (root / "clean" / "00.wav").unlink()
    (folder / "b.wav").unlink()
    (result,) = on_bucket(root, ["bucket://talks"], "bucket://clean")
    assert result.job.output == "bucket://clean/00.wav" and not result.sentence


def fatal(image: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return image


@pytest.mark.usefixtures("temporary")
def test_a_recording_that_kills_every_worker_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_RETRIES", 0)
    planned = storage.plan([str(recordings(tmp_path / "in", 1))], str(tmp_path / "out"))[0]
    (result,) = cluster.run(planned, Settings(), lambda: load_cleaner(fatal))
    assert "00.wav: its worker was lost 1 times" in result.sentence


@pytest.mark.usefixtures("temporary")
def test_what_would_fail_for_all_ends_the_run(tmp_path: Path) -> None:
    planned = storage.plan([str(recordings(tmp_path / "in", 1))], str(tmp_path / "out"))[0]

    def refuse() -> Cleaner:
        raise UserError("there is no device here")

    with pytest.raises(UserError, match="^there is no device here$"):
        list(cluster.run(planned, Settings(), refuse))
    if not ray.cluster_resources().get("GPU"):
        with pytest.raises(UserError, match="the cluster has no GPU for --device cuda"):
            list(cluster.run(planned, Settings(), refuse, device="cuda"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("auto", r"no Ray answers at auto \(nobody answers\): check it"),
        ("127.0.0.1:1", r"no Ray answers at 127.0.0.1:1 \(.*refused"),
        ("local", r"no Ray answers at local \(nobody answers\): run the same again"),
    ],
)
def test_no_cluster_there(address: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)

    def nobody(*_: object, **__: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(UserError, match=sentence), cluster.connected(address):
        pass


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    sentence = "pip install ray fsspec"
    with pytest.raises(UserError, match=sentence), cluster.connected("local"):
        pass
