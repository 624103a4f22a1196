"""The list of what no training may hear."""

from pathlib import Path

import pytest

from audio_denoising.corpora.held_out import held_out, is_held_out


def test_every_line_names_a_place_in_a_corpus_once():
    lines = held_out()
    assert len(lines) == 58
    assert all(line.startswith(("speech/", "noise/")) and "." not in line for line in lines)


@pytest.mark.parametrize(
    "path",
    [
        "speech/emodb/emodb03/emodb03-01.opus",
        Path("/somewhere/else/emodb/emodb16/a.flac"),
        "/data/noise/esc50-permissive/engine/2-78651-A.opus",
        "noise/ambient-core/metro_cabin-2.wav",
        "noise/ambient/urban/highway",
    ],
)
def test_held_out_wherever_the_corpora_stand(path):
    assert is_held_out(path)


@pytest.mark.parametrize(
    "path",
    [
        "speech/speechocean762/SPEAKER0001/000010011.opus",
        "noise/ambient-core/rain_heavy.opus",
        "noise/esc50-permissive/engine/2-786511-A.opus",  # longer than a name of the list
        "noise/esc50-permissive/siren/2-78651-A.opus",  # another folder
        "emodb/emodb1/emodb1-01.opus",
    ],
)
def test_everything_else_may_train(path):
    assert not is_held_out(path)
