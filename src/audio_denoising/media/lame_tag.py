"""The LAME tag of an MP3 file: how many samples of codec padding to cut off at either end.

FFmpeg writes the tag, but tells of at most one frame of padding at the end; where the sound fills
its last frame to within 48 samples there is more, and the file would be longer than the sound.
"""

from __future__ import annotations

from typing import BinaryIO

_ENCODER, _DELAY, _CRC = 120, 141, 154  # offsets from the word Xing or Info
_CRC_COVERS = 190  # bytes, from the start of the frame


def tell_length(file: BinaryIO, samples: int, frame_size: int) -> None:
    """Correct the padding told by the tag, where there is one.

    Args:
        file: a complete MP3 file, open for reading and writing.
        samples: its true length in samples per channel.
        frame_size: samples per channel in one frame.
    """
    file.seek(0)
    head = file.read(10)
    size = 0
    if head.startswith(b"ID3"):  # its size is written seven bits to a byte
        size = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:10])))
    file.seek(size)
    frame = bytearray(file.read(512))
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0 or bytes(frame[tag + _ENCODER : tag + _ENCODER + 4]) not in (
        b"LAME",
        b"Lavc",
        b"Lavf",
    ):
        return
    frames = int.from_bytes(frame[tag + 8 : tag + 12], "big")
    delay = int.from_bytes(frame[tag + _DELAY : tag + _DELAY + 3], "big") >> 12
    padding = min(max(frames * frame_size - delay - samples, 0), 0xFFF)
    frame[tag + _DELAY : tag + _DELAY + 3] = (delay << 12 | padding).to_bytes(3, "big")
    frame[tag + _CRC : tag + _CRC + 2] = _crc16(frame[:_CRC_COVERS]).to_bytes(2, "big")
    file.seek(size)
    file.write(frame)


def _crc16(data: bytes | bytearray) -> int:
    """CRC-16 with the polynomial 0x8005, lowest bit first."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
