"""Which archives the corpora consist of: addresses, sizes, checksums, licences.

Sources of the figures:

* LibriSpeech: https://www.openslr.org/12 lists the archives and mirrors, its ``md5sum.txt`` the
  checksums (the same ones lhotse and torchaudio carry); Kaldi's LibriSpeech recipe checks the
  archive sizes in bytes; the counts of recordings are those of the published subsets (lhotse).
* UrbanSound8K: https://zenodo.org/records/1203745 gives checksum and size of the archive (soundata
  carries the same checksum); 8732 recordings according to its paper and its README.
"""

from __future__ import annotations

from dataclasses import dataclass

# The main server of OpenSLR, then its mirrors in the US, Europe and China.
_OPENSLR = (
    "https://www.openslr.org/resources/12",
    "https://us.openslr.org/resources/12",
    "https://openslr.trmal.net/resources/12",
    "https://openslr.elda.org/resources/12",
    "https://openslr.magicdatatech.com/resources/12",
)
# FLAC hardly shrinks in a gzip archive; the tenth on top covers that and half-filled disk blocks.
_FLAC_GROWTH = 1.1


@dataclass(frozen=True)
class Archive:
    """One file to fetch and what it becomes."""

    name: str
    urls: tuple[str, ...]
    size: int  # in bytes
    unpacked: int  # likewise, generously estimated
    md5: str
    inside: str  # the folder in it that becomes
    folder: str  # this one below the data root
    recordings: int  # audio files that it then holds

    @property
    def file_name(self) -> str:
        """Name of the archive on disk, the same for every mirror."""
        return f"{self.name}.tar.gz"


@dataclass(frozen=True)
class Corpus:
    """A corpus: its archives, the ones fetched when nothing is said, and on which terms."""

    title: str
    licence: str
    archives: dict[str, Archive]
    usual: tuple[str, ...]


_LIBRISPEECH = {
    name: Archive(
        name=name,
        urls=tuple(f"{server}/{name}.tar.gz" for server in _OPENSLR),
        size=size,
        unpacked=int(size * _FLAC_GROWTH),
        md5=md5,
        inside=f"LibriSpeech/{name}",
        folder=f"LibriSpeech/{name}",
        recordings=recordings,
    )
    for name, size, md5, recordings in (
        ("train-clean-100", 6387309499, "2a93770f6d5c6c964bc36631d331a522", 28539),
        ("train-clean-360", 23049477885, "c0e676e450a7ff2f54aeade5171606fa", 104014),
        ("train-other-500", 30593501606, "d1a0fd59409feb2c614ce4d30c387708", 148688),
        ("dev-clean", 337926286, "42e2234ba48799c1f50f24a7926300a1", 2703),
        ("dev-other", 314305928, "c8d0bcc9cca99d4f8b62fcc847357931", 2864),
        ("test-clean", 346663984, "32fa31d27d2e1cad72775fee3f4849a9", 2620),
        ("test-other", 328757843, "fb5a50374b501bb3bac4815ee91d3135", 2939),
    )
}
_URBANSOUND8K = Archive(
    name="UrbanSound8K",
    # Zenodo serves one record under both addresses; no independent mirror is published.
    urls=(
        "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz?download=1",
        "https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz?download=1",
    ),
    size=6023741708,
    unpacked=7_500_000_000,
    md5="9aa69802bbf37fb986f71ec1483a196e",
    inside="UrbanSound8K",
    folder="noise_datasets/UrbanSound8K",
    recordings=8732,
)

CORPORA: dict[str, Corpus] = {
    "librispeech": Corpus(
        title="LibriSpeech (Panayotov, Chen, Povey, Khudanpur 2015)",
        licence=(
            "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/: any use, also commercial, "
            "as long as the authors are named."
        ),
        archives=_LIBRISPEECH,
        usual=("train-clean-100", "dev-clean", "test-clean"),
    ),
    "urbansound8k": Corpus(
        title="UrbanSound8K (Salamon, Jacoby, Bello 2014)",
        licence=(
            "CC BY-NC 3.0, https://creativecommons.org/licenses/by-nc/3.0/: NON-COMMERCIAL USE "
            "ONLY, and the authors must be named; for a commercial purpose use other noise."
        ),
        archives={_URBANSOUND8K.name: _URBANSOUND8K},
        usual=(_URBANSOUND8K.name,),
    ),
}
