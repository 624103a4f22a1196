"""A list drawn from other corpora has the shape of the frozen one, and mixes again alike."""

import csv
import io
from collections import Counter

import pytest

from audio_denoising.errors import UserError
from audio_denoising.evaluation.testset import COLUMNS, HELD_OUT, frozen_list
from benchmarks.draw_test_list import draw_list, with_digests, write


@pytest.fixture(scope="module")
def rows(corpora):
    return draw_list(*corpora)


def test_it_has_the_shape_of_the_frozen_list(rows):
    def shape(found):
        return [(row.part, row.number, row.noise_class, row.snr_db) for row in found]

    assert sorted(shape(rows), key=str) == sorted(shape(frozen_list()), key=str)
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
    assert tuple(lines[0]) == COLUMNS
    assert [line["snr_db"] for line in lines] == ["0", ""]
    assert all(len(line["sha256"]) == 16 for line in lines)
    assert lines[0]["utterance"] == rows[0].utterance and int(lines[0]["offset"]) == rows[0].offset


def test_too_few_speakers_or_a_class_without_noise_are_named(corpora):
    speech, noise = corpora
    with pytest.raises(UserError, match="needs 10 held-out speakers; 1 were found"):
        draw_list(speech[:3], noise)
    with pytest.raises(UserError, match="there is no siren"):
        draw_list(speech, [n for n in noise if n.path.stem.split("-")[1] != "8"])
