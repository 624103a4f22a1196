"""What a run trains and validates on where the audio comes in tar shards, by path or address.

A set of shards is named by its files, here or on a web server, with braces as shells and webdataset
have them, ``https://host/speech-train-{000000..000099}.tar``, or with ``*`` for files here. Those
that others wrote in WebDataset's way serve as well; without an index the number of pieces and the
speakers are not known beforehand. Nothing but audio and JSON is decoded, and nothing but paths and
http(s) addresses opened. Shards are decoded one after the other, one of speech beside one of noise,
and mixed like recordings in folders; every process has its own part of those of speech.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import numpy as np
import soundfile
import torch

from audio_denoising.corpora.corpus import Recording
from audio_denoising.corpora.shard_urls import is_remote, shard_urls
from audio_denoising.corpora.sources import EXTENSIONS
from audio_denoising.corpora.transfer import Transfer
from audio_denoising.errors import UserError, counted
from audio_denoising.mixing.bank import SoundBank
from audio_denoising.mixing.batch import Mixer
from audio_denoising.mixing.library import Library
from audio_denoising.mixing.recipe import PRESETS, Recipe
from audio_denoising.training.material import VALIDATION_SEED, Material, Pair
from audio_denoising.training.options import Processes, RunPlace, TrainingOptions


class ShardMaterial(Material):
    """Mixtures from shards of the train split; the shards beside them validate.

    They are a function of seed, epoch and number of processes. To resume in the middle of an epoch
    its earlier shards are read and thrown away. UserError where shards cannot be read, hold another
    split or lack a validation split beside them.
    """

    licence = ""  # shards do not tell where their recordings come from

    def __init__(
        self, options: TrainingOptions, place: RunPlace, processes: Processes, device: torch.device
    ) -> None:
        self.options, self.place, self.processes, self.device = options, place, processes, device
        speech, noise = ShardSet.of(place.speech, "speech"), ShardSet.of(place.noise, "noise")
        self.held_out = speech.validation(), noise.validation()
        if options.epoch_size is None and speech.pieces is None:
            raise UserError(
                f"{speech.urls[0]} has no index, which would say how much speech is in the shards: "
                "give the length of an epoch by --epoch-size"
            )
        self.size = options.epoch_size or speech.pieces or 0
        self.steps = self.size // options.batch_size
        mine = speech.urls[processes.rank :: processes.count]
        self.sets = replace(speech, urls=mine or speech.urls), noise

    def mixtures(self, epoch: int, start_batch: int = 0) -> Iterator[Pair]:
        """This process's share of the mixtures of an epoch, from ``start_batch`` on."""
        own = self.options.seed, self.processes.rank, epoch
        share = self.options.batch_size // self.processes.count
        mixers = self._mixers("train", own, PRESETS[self.options.augmentation])
        each = ((m, step) for m in mixers for step in range(-(-len(m.speech.starts) // share)))
        for mixer, step in islice(each, start_batch, self.steps):
            yield mixer.batch(step, share, self._samples())

    def validation(self) -> Iterator[Pair]:
        """The mixtures that every validation uses."""
        mixers = self._mixers("validation", (VALIDATION_SEED,), PRESETS["original"])
        self.judged = next(mixers)
        return super().validation()

    @property
    def damaged(self) -> list[str]:
        """The pieces and shards that could not be read so far."""
        return [name for each in self.sets for name in each.damaged]

    def describe(self) -> list[str]:
        """What it is made of, in a few lines."""
        sets = {"train": self.sets, "validation": self.held_out}
        return [f"{name:>10}: {'; '.join(map(str, both))}" for name, both in sets.items()]

    def _mixers(self, split: str, seed: tuple[int, ...], recipe: Recipe) -> Iterator[Mixer]:
        """One for each shard of speech, endlessly."""
        sets = self.sets if split == "train" else self.held_out
        banks = (each.banks(split, seed, self.device) for each in sets)
        for number, speech, noise in zip(count(), *banks, strict=False):
            own = int(np.random.default_rng((*seed, number)).integers(2**63))
            yield Mixer(speech, noise, recipe, own, device=self.device, in_turn=True)


@dataclass
class ShardSet:
    """The shards to read, and what their indices say, where there are any."""

    what: str
    urls: list[str] = field(default_factory=list)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)  # by path or address
    groups: set[str] = field(default_factory=set)  # the speakers or noise sources
    damaged: dict[str, None] = field(default_factory=dict)  # pieces and shards, so far

    @classmethod
    def of(cls, specs: Sequence[str | Path], what: str) -> ShardSet:
        """The shards of speech or noise (``what``) that paths or addresses name together;
        UserError where one names nothing, or its index is damaged."""
        found = cls(what, [url for spec in specs for url in shard_urls(str(spec))])
        for place in dict.fromkeys(re.sub(r"-\d+\.tar$", ".json", url) for url in found.urls):
            if place.endswith(".json"):
                found.learn(place)
        return found

    def __str__(self) -> str:
        pieces = "" if self.pieces is None else f", {counted(self.pieces, 'piece')}"
        return f"{counted(len(self.urls), 'shard')} of {self.what}{pieces}"

    @property
    def pieces(self) -> int | None:
        """All pieces together; None where not all are known."""
        if not self.known.keys() >= set(self.urls):
            return None
        return sum(self.known[url]["pieces"] for url in self.urls)

    def learn(self, place: str) -> list[str]:
        """Takes in what an index at a path or address says; the shards in it, none without one."""
        try:
            with urlopen(place, timeout=30) if is_remote(place) else Path(place).open() as file:
                index = json.load(file)
            listed = {_folder(place) + each["name"]: each for each in index["shards"]}
            self.groups |= set(index["groups"])
        except OSError as error:
            if isinstance(error, FileNotFoundError) or getattr(error, "code", 0) in (404, 410):
                return []
            raise UserError(f"{place} cannot be read ({error}): check the address") from error
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{place} is no index of shards, or it is damaged: copy it again, or remove it "
                "and give the length of an epoch by --epoch-size"
            ) from error
        self.known |= listed
        return list(listed)

    def validation(self) -> ShardSet:
        """The validation split beside these shards, as its index lists it; UserError where there
        is none, or both share a speaker or a noise source."""
        found = ShardSet(self.what)
        for folder in dict.fromkeys(map(_folder, self.urls)):
            found.urls += found.learn(place := f"{folder}{self.what}-validation.json")
            if not found.urls:
                raise UserError(
                    f"There is no {place}: `denoise data shard` writes it beside the train split, "
                    "which gives a run something to validate on"
                )
        if shared := self.groups & found.groups:
            raise UserError(
                f"{min(shared)} is in the {self.what} shards of both splits: write both with one "
                "call of `denoise data shard`"
            )
        return found

    def banks(
        self, split: str, seed: Sequence[int], device: torch.device | str = "cpu"
    ) -> Iterator[SoundBank]:
        """The sounds of one shard after the other, lap after lap, each time in a new order that
        ``seed`` decides. UserError where a shard cannot be fetched, a piece says that it is not of
        the ``split``, or nothing at all can be decoded."""
        random = np.random.default_rng(list(seed))
        while True:
            heard = False
            for url in random.permutation(self.urls).tolist():
                library, recordings = self._read(url, split)
                if any(entry.length for entry in library.entries.values()):
                    heard = True
                    yield library.bank(recordings, device=device)
            if not heard:
                raise UserError(
                    f"Nothing in the {len(self.urls)} shards of {self.what} can be decoded "
                    f"({next(iter(self.damaged), self.urls[0])}): write or copy them again"
                )

    def _read(self, url: str, split: str) -> tuple[Library, list[Recording]]:
        """What of one shard can be decoded, if anything; notes what is wrong with it."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        known, path, seen = self.known.get(url, {}), Path(url), 0
        names: dict[Recording, str] = {}
        faults: list[Exception] = []
        with TemporaryDirectory(prefix="shard-") as folder:
            if is_remote(url):
                path = Path(folder, url.rpartition("/")[2])
                Transfer([url], path, known.get("bytes", -1)).run()
            try:
                with path.open("rb") as stream:
                    files = tar_file_expander([{"url": url, "stream": stream}], faults.append)
                    for seen, sample in enumerate(group_by_keys(files, handler=faults.append), 1):
                        name = f"{url}: {sample['__key__']}"
                        try:
                            names[_unpacked(sample, Path(folder, str(seen)))] = name
                        except (StopIteration, ValueError, TypeError, AttributeError, RuntimeError):
                            self.damaged[name] = None
            except OSError as error:
                raise UserError(
                    f"{url} cannot be unpacked in {folder} ({error}): free some space there"
                ) from error
            # A tar that was cut between two members reads like a whole one.
            if faults or seen < known.get("pieces", 0):
                self.damaged[f"{url} (damaged, {seen} of its pieces read)"] = None
            for told in {recording.split_hint for recording in names} - {None, split}:
                raise UserError(
                    f"{url} holds recordings of the {told} split: give shards of the {split} split"
                )
            library = Library()
            library.add(list(names))
        bad = library.damaged(list(names))
        self.damaged |= {name: None for each, name in names.items() if each.path in bad}
        return library, list(names)


def _unpacked(sample: dict[str, Any], place: Path) -> Recording:
    """The audio of a sample as webdataset groups it, by their endings, in a file; StopIteration,
    ValueError and others where there is none, or none that can be read."""
    ending = next(name for name in sample if f".{name.rpartition('.')[2]}" in EXTENSIONS)
    path = place.with_suffix(f".{ending.rpartition('.')[2]}")
    path.write_bytes(sample[ending])
    info, about = soundfile.info(path), json.loads(sample.get("json", "{}"))
    group = str(about.get("group", sample["__key__"]))
    return Recording(path, group, info.frames, info.samplerate, about.get("split"))


def _folder(url: str) -> str:
    """What stands before the file's name, its slash included."""
    return url[: url.rfind("/") + 1]
