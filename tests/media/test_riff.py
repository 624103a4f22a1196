"""What a WAV or AIFF holds beside its sound goes over into the output, or is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_denoising.media.about import carry_chunks, read_about
from tests.media.tools import ffmpeg, needs_ffmpeg, pass_on

RATE = 48_000
SOUND = np.arange(30_001, dtype=np.int16)  # an odd number of samples
XML = b"<BWFXML><SCENE>7</SCENE></BWFXML>"
BEXT = struct.pack(
    "<256s32s32s10s8sQH254s",
    *(b"Scene 7", b"Recorder", b"REF1", b"2024-05-04", b"10:11:12", RATE * 3600, 1, b""),
)
CUE = struct.pack("<I", 2) + b"".join(
    struct.pack("<II4sIII", number, place, b"data", 0, 0, place)
    for number, place in ((1, 4_000), (2, 20_000))
)
LABELS = b"adtl" + b"".join(
    b"labl" + struct.pack("<II", 4 + len(text), number) + text
    for number, text in ((1, b"Intro\0"), (2, b"End\0"))
)


def chunk(name: bytes, data: bytes, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(data)) + data + bytes(len(data) % 2)


def wav(path: Path, *, large: bool = False) -> Path:
    """A broadcast WAV, as recorders in the field write it."""
    body = chunk(b"bext", BEXT) + chunk(
        b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    )
    data = chunk(b"data", SOUND.tobytes())
    head = b"RIFF"
    if large:
        head, data = b"RF64", b"data" + b"\xff" * 4 + data[8:]
        body = chunk(b"ds64", struct.pack("<QQQI", 0, SOUND.nbytes, SOUND.size, 0)) + body
    body += chunk(b"iXML", XML) + data + chunk(b"cue ", CUE) + chunk(b"LIST", LABELS)
    path.write_bytes(head + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    return path


@pytest.mark.parametrize("large", [False, True])
def test_time_code_scene_and_marks_go_over(tmp_path: Path, large: bool) -> None:
    source, target = wav(tmp_path / "in.wav", large=large), tmp_path / "out.wav"
    assert pass_on(source, target) == ()
    assert struct.unpack_from("<I", target.read_bytes(), 4) == (target.stat().st_size - 8,)
    about = read_about(target)
    assert about.tags["time_reference"] == str(RATE * 3600)
    assert [title for _, title in about.chapters] == ["Intro", "End"]
    holds_all(target)


def test_they_go_into_an_rf64(tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    soundfile.write(target, SOUND, RATE, format="RF64")
    assert carry_chunks(wav(tmp_path / "in.wav"), target, []) == []
    assert struct.unpack_from("<Q", target.read_bytes(), 20) == (target.stat().st_size - 8,)
    holds_all(target)


def holds_all(path: Path) -> None:
    """The sound and each chunk, once."""
    data = path.read_bytes()
    for part in ((b"bext", BEXT), (b"iXML", XML), (b"cue ", CUE), (b"LIST", LABELS)):
        assert data.count(chunk(*part)) == 1
    assert np.array_equal(soundfile.read(path, dtype="int16")[0], SOUND)


def test_marks_become_chapters_and_chapters_marks(tmp_path: Path) -> None:
    source, between, target = (tmp_path / name for name in ("in.wav", "a.mka", "out.wav"))
    named = pass_on(wav(source), between)
    assert any("broadcast time code" in line for line in named)
    assert any("iXML" in line for line in named)
    assert not any("marks" in line or "chapters" in line for line in named)
    pass_on(between, target)
    assert read_about(target).chapters == ((4_000 / RATE, "Intro"), (20_000 / RATE, "End"))


def test_the_marks_of_an_aiff_go_over(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.aiff", SOUND, RATE)
    marks = chunk(b"MARK", struct.pack(">HHIB5s", 1, 1, 4_000, 5, b"Intro"), ">")
    data = (tmp_path / "in.aiff").read_bytes() + marks
    data = data[:4] + struct.pack(">I", len(data) - 8) + data[8:]
    (tmp_path / "in.aiff").write_bytes(data)
    assert pass_on(tmp_path / "in.aiff", tmp_path / "out.aiff") == ()
    out = (tmp_path / "out.aiff").read_bytes()
    assert out.endswith(marks)
    assert struct.unpack_from(">I", out, 4) == (len(out) - 8,)
    assert any("marks" in line for line in pass_on(tmp_path / "in.aiff", tmp_path / "out.wav"))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 2_000_000_000])
def test_sound_is_not_taken_for_chunks(tmp_path: Path, size: int) -> None:
    """Behind a wrong size there may be sound that looks like a chunk."""
    fmt = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    sound = chunk(b"iXML", XML) * 50
    data = b"data" + struct.pack("<I", size) + sound
    (tmp_path / "in.wav").write_bytes(b"RIFF" + bytes(4) + b"WAVE" + fmt + data)
    pass_on(tmp_path / "in.wav", tmp_path / "out.wav")
    assert soundfile.read(tmp_path / "out.wav", dtype="int16")[0].tobytes() == sound


@pytest.mark.parametrize("size", [2**63, 2**64 - 1])
def test_a_size_beyond_all_measure_is_no_matter(tmp_path: Path, size: int) -> None:
    path = wav(tmp_path / "in.wav", large=True)
    told = struct.pack("<Q", SOUND.nbytes)
    path.write_bytes(path.read_bytes().replace(told, struct.pack("<Q", size)))
    soundfile.write(tmp_path / "out.wav", SOUND, RATE)
    assert carry_chunks(path, tmp_path / "out.wav", [(2**40, "late"), (-1, "early")]) == []
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="int16")[0], SOUND)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["out.ogg", "out.opus", "out.aac", "out.amr", "out.mp3"])
def test_what_cannot_be_kept_is_named(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "in.wav", SOUND[::6], 8000)
    (tmp_path / "told.txt").write_text(
        ";FFMETADATA1\ntitle=Walk\nmood=calm\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=500\ntitle=Two\n"
    )
    chapters = ["-f", "ffmetadata", "-i", tmp_path / "told.txt", "-map_metadata", "1"]
    ffmpeg("-i", tmp_path / "in.wav", *chapters, "-c:a", "flac", tmp_path / "in.mka")
    named = " ".join(pass_on(tmp_path / "in.mka", tmp_path / name))
    wanted, kept = read_about(tmp_path / "in.mka"), read_about(tmp_path / name)
    assert len(wanted.chapters) == 2 and wanted.tags.keys() >= {"title", "mood"}
    assert ("chapters" in named) == (not kept.chapters)
    assert bool(kept.chapters) == (name in ("out.ogg", "out.opus", "out.mp3"))
    for tag in ("title", "mood"):
        assert (tag in named) == (tag not in kept.tags)
