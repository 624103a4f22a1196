"""`denoise train --config`: a file's values count like the command line's, which go before them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import ROOT, denoise
from tests.cli.test_train import given as given


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.toml"


ALL = """
speech = ["s=1", "t=2"]
noise = "n"
hold_out = ["anna", "ben"]
augment = "varied"
cache = "c"
size = "small"
start-from = "w.pth"
epochs = 3
epoch_size = 8
batch-size = 4
lr = 1
schedule = "cosine"
warmup = 2
momentum = 0.8
clip-norm = 1.5
ema = 0.9
patience = 5
seed = 7
accumulate = 2
recompute = true
device = "cpu"
threads = 1
out = "o"
resume = true
save-every = 9
"""


LINE = """
--speech s=1 --speech t=2 --noise n --hold-out anna --hold-out ben --augment varied --cache c
--size small --start-from w.pth --epochs 3 --epoch-size 8 --batch-size 4 --lr 1 --schedule cosine
--warmup 2 --momentum 0.8 --clip-norm 1.5 --ema 0.9 --patience 5 --seed 7 --accumulate 2
--recompute --device cpu --threads 1 --out o --resume --save-every 9
"""


def test_every_option_can_stand_in_a_file(given: dict[str, Any], file: Path) -> None:
    assert denoise("train", "v4", *LINE.split()).code == 0
    wanted = given.pop("options"), given.pop("place")
    file.write_text(ALL)
    result = denoise("train", "v4", "--config", file)
    assert (result.code, result.err) == (0, "")
    assert (given["options"], given["place"]) == wanted
    told = re.sub(r"\s", "", denoise("train", "--help").out)
    assert all(f"--{key.replace('_', '-')}" in told for key in re.findall(r"^[\w-]+", ALL, re.M))


def test_the_command_line_wins(given: dict[str, Any], file: Path) -> None:
    file.write_text(ALL.replace('start-from = "w.pth"', ""))  # of another version and size
    arguments = "--epochs 5 --speech x --lr 0.5 --no-recompute --no-resume --size large --out p"
    result = denoise("train", "v2", *arguments.split(), "--config", file)
    assert (result.code, result.err) == (0, "")
    options, place = given["options"], given["place"]
    assert (options.version, options.size, options.epochs) == ("v2", "large", 5)
    assert (options.learning_rate, options.batch_size) == (0.5, 4)
    assert place.speech == ["x"] and options.speech_weights is None
    assert not place.recompute and not place.resume


def test_help_shows_the_defaults_of_the_file(file: Path) -> None:
    file.write_text("patience = 31")
    assert "[default: 31]" in denoise("train", "--config", file, "--help").out


def test_options_of_v5_can_stand_in_a_file_too(given: dict[str, Any], file: Path) -> None:
    Path("r").mkdir()
    Path("r/sound.wav").touch()
    file.write_text('rooms = "r"\nclip-seconds = 1.5\nschedule = "constant"\ncache = "banks"')
    assert denoise("train", "v5", "--config", file).code == 0
    options, place = given["options"], given["place"]
    assert (options.clip_seconds, options.schedule, options.ema) == (1.5, "constant", 0.9995)
    assert (place.rooms, place.cache) == ([Path("r")], Path("banks"))


def test_the_example_is_taken(given: dict[str, Any]) -> None:
    assert denoise("train", "v4", "--config", ROOT / "examples" / "train_v4.toml").code == 0
    assert given["options"].size == "small"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("batch_sise = 4", r"run.toml: batch_sise is not an option; the nearest is batch-size"),
        ("config = 'a'", r"run.toml: config is not an option"),
        ("epochs = 'many'", r'run.toml: epochs must be a whole number, not "many"'),
        ("epochs = 1.5", r"run.toml: epochs must be a whole number, not 1.5"),
        ("lr = 'high'", r'run.toml: lr must be a number, not "high"'),
        ("size = 3", r"run.toml: size must be a text in quotes, not 3"),
        ("resume = 1", r"run.toml: resume must be true or false, not 1"),
        ("speech = [1, 2]", r"run.toml: speech must be a list of texts in quotes, not \[1, 2\]"),
        ("batch_size = 1\nbatch-size = 2", r"run.toml: batch-size is given twice"),
        ("epochs = 0", r"--epochs must be above 0"),
        ("epochs 3", r"run.toml is not a TOML file \(.*line 1.*\)"),
    ],
)
def test_a_refusal_names_file_and_key(
    content: str, sentence: str, file: Path, given: dict[str, Any]
) -> None:
    file.write_text(content)
    result = denoise("train", "v4", "--config", file)
    assert result.code == 2 and not given
    assert re.search(sentence, result.sentence)


def test_files_that_cannot_be_read(file: Path) -> None:
    assert "run.toml cannot be read" in denoise("train", "v4", "--config", file).sentence
    assert "cannot be read" in denoise("train", "v4", "--config", file.parent).sentence
    file.write_bytes(b"size = '\xff'")
    assert "run.toml is not a TOML file" in denoise("train", "v4", "--config", file).sentence
