"""A list drawn from other corpora has the shape of the frozen one, and mixes again alike."""

import csv
import io
from collections import Counter

import pytest
import soundfile

from audio_denoising.corpora.corpus import index_noise, index_speech
from audio_denoising.corpora.held_out import held_out
from audio_denoising.errors import UserError
from audio_denoising.evaluation.frozen_lists import FIRST, HELD_OUT, SECOND
from benchmarks.draw_test_list import draw_list, draw_second_list, with_digests, write
from tests.evaluation.conftest import RATE, voice


@pytest.fixture(scope="module")
def rows(corpora):
    return draw_list(*corpora)


def test_it_has_the_shape_of_the_frozen_list(rows):
    def shape(found):
        return [(row.part, row.number, row.noise_class, row.snr_db) for row in found]

    assert sorted(shape(rows), key=str) == sorted(shape(FIRST.rows()), key=str)
    levels = Counter((row.speaker, row.snr_db) for row in rows if row.part == HELD_OUT)
    assert len(levels) == 40 and set(levels.values()) == {4}


def test_short_recordings_are_left_out_and_sources_take_turns(rows):
    assert not any(row.utterance.endswith("0002") for row in rows)
    assert all(4.6 * 16_000 <= row.samples <= 5 * 16_000 for row in rows)
    sources = Counter(row.noise for row in rows if row.part == HELD_OUT)
    assert len(sources) == 20 and set(sources.values()) == {8}


def test_drawing_again_gives_the_same_list(rows, corpora):
    assert draw_list(*corpora) == rows


def test_the_list_is_written_as_it_is_read(rows, corpora):
    few = with_digests([rows[0], rows[-1]], *corpora)
    file = io.StringIO()
    write(few, file)
    lines = list(csv.DictReader(file.getvalue().splitlines()))
    assert tuple(lines[0]) == FIRST.columns
    assert [line["snr_db"] for line in lines] == ["0", ""]
    assert all(len(line["sha256"]) == 16 for line in lines)
    assert lines[0]["utterance"] == rows[0].utterance and int(lines[0]["offset"]) == rows[0].offset


def test_too_few_speakers_or_a_class_without_noise_are_named(corpora):
    speech, noise = corpora
    with pytest.raises(UserError, match="needs 10 held-out speakers; 1 were found"):
        draw_list(speech[:3], noise)
    with pytest.raises(UserError, match="there is no siren"):
        draw_list(speech, [n for n in noise if n.path.stem.split("-")[1] != "8"])


@pytest.fixture(scope="module")
def other_corpora(tmp_path_factory):
    """A recording of every place that is held out: 10.5 s of speech, or 2 s of noise."""
    root = tmp_path_factory.mktemp("other")
    for number, line in enumerate(sorted(held_out())):
        spoken = line.startswith("speech/")
        path = root / (f"{line}/said-1.wav" if spoken else f"{line}.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, voice(number, 10.5 if spoken else 2.0), RATE)
    return index_speech(root / "speech"), index_noise(root / "noise")


def test_the_second_list_has_its_shape_wherever_it_is_drawn(other_corpora):
    def shape(found):
        return [(row.part, row.number, row.noise_class, row.snr_db, row.room) for row in found]

    rows = draw_second_list(*other_corpora)
    assert shape(rows) == shape(SECOND.rows())
    assert {row.start for row in rows} == {0, 5 * RATE}
    (row,) = with_digests(rows[-1:], *other_corpora, SECOND)
    file = io.StringIO()
    write([row], file, SECOND)
    (line,) = csv.DictReader(file.getvalue().splitlines())
    assert line["level_db"] == f"{row.level_db:g}" and line["room"] == ""
    with pytest.raises(UserError, match=r"there is no noise/"):
        draw_second_list(other_corpora[0], other_corpora[1][1:])
