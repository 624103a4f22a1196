"""What is found behind names, patterns and folders, where it goes, and what is refused at once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from audio_denoising.cleaning import plan as plans
from audio_denoising.cleaning.plan import noise_beside, pending
from audio_denoising.cleaning.settings import Job
from audio_denoising.errors import UserError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of empty files; the current folder is its root."""
    names = "talks/a.wav talks/b.MP3 talks/notes.txt talks/deep/c.flac talks/deep/d.ape "
    for name in (names + "talks/.hidden.wav talks/.cache/e.wav other/a.wav").split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*arguments: Any, **options: Any) -> list[Job]:
    """The jobs of a plan."""
    return plans.plan(*arguments, **options)[0]


def lines(jobs: list[Job]) -> list[str]:
    """The jobs as text, on any system."""
    return [f"{job.input} > {job.output}".replace(os.sep, "/") for job in jobs]


@pytest.mark.usefixtures("tree")
class TestPlan:
    """`plan` over the tree above."""

    def test_a_file(self) -> None:
        assert lines(plan(["talks/a.wav"])) == ["talks/a.wav > talks/a_denoised.wav"]
        assert lines(plan(["talks/a.wav"], "x.flac")) == ["talks/a.wav > x.flac"]
        assert lines(plan(["talks/a.wav"], "other")) == ["talks/a.wav > other/a.wav"]
        assert lines(plan(["talks/a.wav"], "new/")) == ["talks/a.wav > new/a.wav"]
        assert lines(plan(["talks/a.wav"], in_place=True)) == ["talks/a.wav > talks/a.wav"]

    def test_files_keep_their_order_and_count_once(self) -> None:
        given = ["talks/b.MP3", "talks/a.wav", "talks/*.wav", "missing.wav"]
        assert lines(plan(given, "out")) == [
            "talks/b.MP3 > out/b.MP3",
            "talks/a.wav > out/a.wav",
            "missing.wav > out/missing.wav",
        ]

    def test_a_folder(self) -> None:
        assert lines(plan(["talks"])) == [
            "talks/a.wav > talks/a_denoised.wav",
            "talks/b.MP3 > talks/b_denoised.wav",
        ]

    def test_a_tree_is_mirrored(self) -> None:
        assert lines(plan(["talks"], "out", recursive=True)) == [
            "talks/a.wav > out/a.wav",
            "talks/b.MP3 > out/b.MP3",
            "talks/deep/c.flac > out/deep/c.flac",
            "talks/deep/d.ape > out/deep/d.wav",  # .ape can only be read
        ]

    def test_a_pattern_is_mirrored_from_its_fixed_part(self) -> None:
        assert lines(plan(["talks/**/*.flac"], "out")) == ["talks/deep/c.flac > out/deep/c.flac"]

    def test_a_name_that_looks_like_a_pattern(self, tree: Path) -> None:
        (tree / "[a].wav").touch()
        assert lines(plan(["[a].wav"])) == ["[a].wav > [a]_denoised.wav"]

    def test_the_folder_of_the_outputs_is_not_cleaned(self, tree: Path) -> None:
        (tree / "talks/out").mkdir()
        (tree / "talks/out/a.wav").touch()
        found = plan(["talks"], "talks/out", recursive=True)
        assert "talks/out/a.wav" not in [Path(job.input).as_posix() for job in found]

    def test_a_folder_that_cannot_be_listed_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scandir = os.scandir

        def closed(path: str) -> Any:
            if str(path).endswith(hidden):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        hidden = "deep"
        monkeypatch.setattr(os, "scandir", closed)
        planned, (told,) = plans.plan(["talks"], recursive=True)
        assert len(planned) == 2
        assert told.endswith("deep left out: it cannot be listed (Permission denied)")
        hidden = "talks"
        with pytest.raises(UserError, match="^talks cannot be listed .Permission denied.: check"):
            plan(["talks"])

    def test_the_noise_stands_beside_the_output_in_its_format(self) -> None:
        (job,) = plan(["talks/b.MP3"], "out/", save_noise=True)
        assert job.outputs == (str(Path("out/b.MP3")), str(Path("out/b_noise.MP3")))
        (job,) = plan(["talks/a.wav"], "x.flac", save_noise=True)
        assert job.outputs == ("x.flac", "x_noise.flac")
        assert noise_beside(Path("talks/a_denoised.wav")) == Path("talks/a_noise.wav")
        assert noise_beside(Path("talks/film.mp4")) == Path("talks/film_noise.wav")

    @pytest.mark.parametrize(
        ("inputs", "output", "sentence"),
        [
            (["other", "talks"], "out", r"other/a.wav and talks/a.wav both lead to out/a.wav"),
            (["talks", "other"], "other/a.wav", "a.wav is a file, and there are several inputs"),
            (["talks/a.wav", "talks/b.MP3"], "one.wav", "one.wav is the name of a file, and"),
            (["talks"], "one.wav", "one.wav is the name of a file, and"),
            (["gs://a/b.wav"], None, "is an address.*download.*--ray local"),
        ],
    )
    def test_refusals(self, inputs: list[str], output: str | None, sentence: str) -> None:
        with pytest.raises(UserError) as error:
            plan(inputs, output)
        assert re.search(sentence, str(error.value).replace("\\", "/"))

    def test_two_inputs_with_one_output_beside_them(self, tree: Path) -> None:
        (tree / "talks/a.mp3").touch()
        with pytest.raises(UserError, match="both lead to .*a_denoised.wav.*-o FOLDER"):
            plan(["talks"])

    def test_an_output_that_is_an_input(self, tree: Path) -> None:
        (tree / "talks/a_denoised.wav").touch()
        with pytest.raises(UserError, match="which is an input itself"):
            plan(["talks/a.wav", "talks/a_denoised.wav"])

    def test_a_folder_without_recordings(self, tree: Path) -> None:
        (tree / "empty/below").mkdir(parents=True)
        (tree / "empty/below/x.wav").touch()
        with pytest.raises(UserError, match="empty is a folder without recordings: add --recur"):
            plan(["empty"])
        assert len(plan(["empty"], recursive=True)) == 1

    def test_in_place_with_an_output(self) -> None:
        with pytest.raises(UserError, match="leave out --output"):
            plan(["talks"], "out", in_place=True)


def test_what_exists_is_refused_skipped_or_replaced(tree: Path) -> None:
    jobs = plan(["talks"], save_noise=True)
    assert pending(jobs) == jobs
    Path(jobs[0].output).touch()
    with pytest.raises(UserError, match="a_denoised.wav exists already.*--skip-existing.*--force"):
        pending(jobs)
    assert pending(jobs, skip_existing=True) == jobs  # the noise is missing yet
    Path(jobs[0].outputs[1]).touch()
    with pytest.raises(UserError, match="and 1 more outputs exist already"):
        pending(jobs)
    assert pending(jobs, skip_existing=True) == jobs[1:]
    assert pending(jobs, force=True) == jobs
    in_place = plan(["talks"], in_place=True)
    assert pending(in_place) == in_place
