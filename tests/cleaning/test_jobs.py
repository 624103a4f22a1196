"""What is found behind names, patterns and folders, where it goes, and what is refused at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audio_denoising.cleaning.jobs import Job, pending, plan
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


def lines(jobs: list[Job]) -> list[str]:
    """The jobs as text, on any system."""
    return [f"{job.input.as_posix()} > {job.output.as_posix()}" for job in jobs]


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

    def test_results_of_an_earlier_run_are_not_cleaned_again(self, tree: Path) -> None:
        for name in ("talks/a_denoised.wav", "talks/a_noise.wav", "talks/out/a.wav"):
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).touch()
        assert len(plan(["talks"])) == 2
        found = plan(["talks"], "talks/out", recursive=True)
        assert "talks/out/a.wav" not in [job.input.as_posix() for job in found]

    def test_the_noise_stands_beside_the_output(self) -> None:
        (job,) = plan(["talks/b.MP3"], "out/", save_noise=True)
        assert job.noise == Path("out/b_noise.wav")
        assert job.outputs == (Path("out/b.MP3"), Path("out/b_noise.wav"))

    @pytest.mark.parametrize(
        ("inputs", "output", "sentence"),
        [
            (["talks/*.aiff"], None, r"no file fits talks/\*\.aiff"),
            (["other", "talks"], "out", r"other/a.wav and talks/a.wav both lead to out/a.wav"),
            (["talks", "other"], "other/a.wav", "a.wav is a file, and there are several inputs"),
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
    jobs[0].output.touch()
    with pytest.raises(UserError, match="a_denoised.wav exists already.*--skip-existing.*--force"):
        pending(jobs)
    assert pending(jobs, skip_existing=True) == jobs  # the noise is missing yet
    jobs[0].outputs[1].touch()
    with pytest.raises(UserError, match="and 1 more outputs exist already"):
        pending(jobs)
    assert pending(jobs, skip_existing=True) == jobs[1:]
    assert pending(jobs, force=True) == jobs
    in_place = plan(["talks"], in_place=True)
    assert pending(in_place) == in_place


def test_a_folder_that_cannot_be_made(tree: Path) -> None:
    with pytest.raises(UserError, match="cannot be made"):
        Job(tree / "a.wav", tree / "talks/a.wav/b.wav", in_tree=True).make_folder()
