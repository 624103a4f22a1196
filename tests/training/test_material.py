"""A run takes folders or tar shards, and says what it does not take."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.corpora.splits import split
from audio_denoising.errors import UserError
from audio_denoising.training import material
from audio_denoising.training.material import Material
from audio_denoising.training.options import RunPlace
from tests.training.runs import NOISE, SPEECH, Recorder, content, differences, options, train


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpus as a set of shards, train and validation."""
    pytest.importorskip("webdataset")
    from audio_denoising.mixing.shards import write_shards

    folder = tmp_path_factory.mktemp("shards")
    splits = split(index_speech(SPEECH), index_noise(NOISE))
    for name in ("train", "validation"):
        for what, root in (("speech", SPEECH), ("noise", NOISE)):
            recordings = getattr(getattr(splits, name), what)
            write_shards(recordings, [root], folder, what=what, split=name, megabytes=1.0)
    return folder


def places(shards: Path) -> dict[str, list[str]]:
    return {what: [str(shards / f"{what}-train-*.tar")] for what in ("speech", "noise")}


def test_an_epoch_of_shards_is_every_piece_and_goes_on_where_it_stopped(
    shards: Path, tmp_path: Path
) -> None:
    told, settings = Recorder(), {"epochs": 1, "epoch_size": None, **places(shards)}
    assert train(tmp_path / "straight", recorder=told, **settings)
    assert len(told.steps) == 4  # 8 pieces in batches of 2
    lines = told.material.describe()
    assert lines[0].startswith("     train: 1 shard of speech, 8 pieces; ")
    assert lines[1].startswith("validation: 1 shard of speech, 4 pieces; ")
    assert told.material.damaged == []
    assert not train(tmp_path / "resumed", recorder=Recorder(3), **settings)
    assert train(tmp_path / "resumed", resume=True, **settings)
    one, other = (content(tmp_path / name / "last.pth") for name in ("straight", "resumed"))
    assert differences(one, other) == []


def test_what_shards_cannot_do(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="both folders and tar shards"):
        train(tmp_path, speech=[SPEECH], noise=places(shards)["noise"])
    for own in ({"hold_out": ["26"]}, {"speech_weights": [2.0]}):
        with pytest.raises(UserError, match="--hold-out and weights are for folders"):
            train(tmp_path, **own, **places(shards))
    assert list(tmp_path.iterdir()) == []


def test_a_long_corpus_goes_to_a_folder_by_itself_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "usual"
    monkeypatch.setattr(material, "DEFAULT", usual)
    place = RunPlace([SPEECH], [NOISE], tmp_path)
    short = Material(options(), place)
    assert "decoded: in memory, " in short.describe()[-1] and not usual.exists()
    monkeypatch.setattr(material, "IN_MEMORY", 0.001)
    long = Material(options(), place)
    assert f"decoded: in {usual}, " in long.describe()[-1]
    monkeypatch.undo()
    monkeypatch.setattr(material, "DEFAULT", usual)
    assert "usual" in Material(options(), place).describe()[-1]  # found from now on
    assert differences(list(long.mixtures(1)), list(short.mixtures(1))) == []
