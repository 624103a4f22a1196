"""Training items from tar shards, read as a stream from disk or from a web server.

How a training loop uses it (`shards.is_shards` tells which texts name shards)::

    speech, noise = find_shards(speech_specs, "speech"), find_shards(noise_specs, "noise")
    training = ShardMixtures(speech, noise, seed=seed, augmentation=..., epoch_size=epoch_size)
    held_out = sibling(speech, "validation"), sibling(noise, "validation")
    validation = ShardMixtures(*held_out, seed=1234, epoch_size=160, split="validation")
    for stretches in training.batches(epoch=1, batch_size=16, workers=2, start_batch=0): ...
    training.damaged      # pieces and shards that were passed over, by name

Batches are the same `Stretches` as `dataset.batches` yields. Speech is visited: the shards of an
epoch stand in an order of its own and are divided among ranks, then among workers (by webdataset),
and each worker shuffles the pieces of its shards. Noise is drawn: every worker goes through all
noise shards in an order of its own, endlessly, and takes stretches from a piece in proportion to
its length (a recording counts for a minute at most). An epoch ends after ``epoch_size`` items,
whatever the shards hold; a worker that has read all its speech by then starts over.

Batches are a function of seed, epoch, rank, number of ranks and number of workers (none and one
are the same). To resume in the middle of an epoch the batches before ``start_batch`` are made and
thrown away, at the speed of `python -m benchmarks.data`; the batches after are those of an
uninterrupted run if the number of workers is. With another number the rest of the epoch consists of
other stretches, some from speech already heard.
"""

from __future__ import annotations

import random
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from audio_denoising.errors import UserError
from audio_denoising.mixing.augment import ORIGINAL, Augmentation
from audio_denoising.mixing.drawing import draw_item
from audio_denoising.mixing.loading import deliver, leave_signals_to_the_parent
from audio_denoising.mixing.mixing import DamagedRecording, Stretches
from audio_denoising.mixing.shard_clips import Clip, by_length, parse_clip
from audio_denoising.mixing.shard_opening import LostShard, open_shard
from audio_denoising.mixing.shards import INSTALL, ShardSet, require_split

SHUFFLED = 300  # pieces held in memory while they are shuffled: about 75 MB of speech in FLAC

# Streams of random numbers that must not be the same where their other coordinates are.
_ITEM, _RECIPE = 11, 12

Batch = tuple[Stretches, list[str]]


class ShardMixtures:
    """Training or validation items from shards of speech and shards of noise.

    Args:
        speech, noise: the shards.
        seed: 0 or above; another seed gives other items.
        augmentation: what may happen to a mixture besides the noise, and the ratios.
        epoch_size: items in an epoch of one rank; by default the number of pieces of speech,
            divided by the number of ranks.
        split: what the shards must be, as far as they say.
        rank, ranks: which of the processes that divide the shards of speech among them this is.

    Raises:
        UserError: they hold another split, their number is not known and ``epoch_size`` not given,
            or webdataset is not installed.
    """

    def __init__(
        self,
        speech: ShardSet,
        noise: ShardSet,
        *,
        seed: int = 0,
        augmentation: Augmentation = ORIGINAL,
        epoch_size: int | None = None,
        split: str = "train",
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        try:
            import webdataset  # noqa: F401
        except ImportError as error:
            raise UserError(f"Reading shards needs the webdataset library: {INSTALL}") from error
        for shards in (speech, noise):
            require_split(shards, split)
        self.rank, self.ranks = rank, ranks
        if len(speech.urls) < self.ranks:
            raise UserError(
                f"{len(speech.urls)} shards of speech cannot be divided among {self.ranks} ranks: "
                "write smaller ones with `denoise data shard --shard-size`"
            )
        if epoch_size is None:
            if speech.pieces is None:
                raise UserError(
                    "Nobody says how much speech is in the shards (there is no index beside "
                    f"{speech.urls[0]}): give the length of an epoch by --epoch-size"
                )
            epoch_size = speech.pieces // self.ranks
        self.speech, self.noise = speech, noise
        self.seed, self.split = seed, split
        self.augmentation = augmentation
        self.epoch_size = epoch_size
        self._damaged: dict[str, None] = {}

    def __len__(self) -> int:
        return self.epoch_size

    @property
    def damaged(self) -> list[str]:
        """The pieces and shards that could not be read so far, in any worker."""
        return list(self._damaged)

    def batches(
        self,
        *,
        epoch: int,
        batch_size: int,
        workers: int = 0,
        start_batch: int = 0,
        drop_last: bool = True,
    ) -> Iterator[Stretches]:
        """Yields the batches of one epoch from ``start_batch`` on.

        There is work for as many ``workers`` as this rank has shards of speech; more are not
        started. The global random state is not touched.

        Raises:
            UserError: a shard is missing or lost, holds another split, or nothing can be decoded.
        """
        from webdataset import SimpleShardList

        order = SimpleShardList(self.speech.urls, seed=f"{self.seed} {epoch}")
        mine = [shard["url"] for shard in order][self.rank :: self.ranks]
        sizes = [batch_size] * (self.epoch_size // batch_size)
        if self.epoch_size % batch_size and not drop_last:
            sizes.append(self.epoch_size % batch_size)
        lane = _Lane(self, mine, epoch, sizes)
        loader = DataLoader(
            lane,
            batch_size=None,
            num_workers=min(workers, len(mine)),
            generator=torch.Generator().manual_seed(self.seed),
            worker_init_fn=leave_signals_to_the_parent,
        )
        for number, (stretches, failures) in enumerate(deliver(loader)):
            self._damaged.update(dict.fromkeys(failures))
            if number >= start_batch:
                yield Stretches(*stretches)


class _Lane(IterableDataset[Batch]):
    """What one worker makes: every so manieth batch of an epoch, and the names of what failed."""

    def __init__(
        self, mixtures: ShardMixtures, urls: list[str], epoch: int, sizes: list[int]
    ) -> None:
        super().__init__()
        self.mixtures = mixtures
        self.urls = urls
        self.epoch = epoch
        self.sizes = sizes
        self.failures: list[str] = []
        self.found = {"speech": 0, "noise": 0}  # clips, in all laps

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        lane, lanes = (worker.id, worker.num_workers) if worker else (0, 1)
        given = self.mixtures
        mine = (given.seed, self.epoch, given.rank, lane)
        # All workers must see the same order of shards, to divide it among themselves.
        speech = self._clips(given.speech, self.urls, f"{given.seed} {self.epoch}", mine)
        noise = self._clips(given.noise, given.noise.urls, f"{mine}", mine)
        numbers = count()
        for size in self.sizes[lane::lanes]:
            items = [self._item(speech, noise, (*mine, next(numbers))) for _ in range(size)]
            failures, self.failures = self.failures, []
            yield Stretches(*map(torch.stack, zip(*items, strict=True))), failures

    def _item(
        self, speech: Iterator[Clip], noise: Iterator[Clip], coordinates: tuple[int, ...]
    ) -> Stretches:
        choices, rng = (
            np.random.default_rng([stream, *coordinates]) for stream in (_RECIPE, _ITEM)
        )
        augmentation = self.mixtures.augmentation
        recipe = augmentation.draw(choices)
        return draw_item(
            speech, noise, recipe, augmentation, rng, lambda clip: self.failures.append(clip.name)
        )

    def _clips(
        self, shards: ShardSet, urls: list[str], order: str, mine: tuple[int, ...]
    ) -> Iterator[Clip]:
        """The clips of ``urls``, shuffled, lap after lap: speech is divided among the workers."""
        from webdataset import SimpleShardList, shuffle, split_by_worker

        for lap in count():
            chosen: Iterable[dict[str, str]] = SimpleShardList(urls, seed=f"{order} {lap}")
            if shards.what == "speech":
                chosen = split_by_worker(chosen)
            rng = random.Random(f"{shards.what} {mine} {lap}")
            before = self.found[shards.what]
            clips = self._read_all(chosen, shards)
            if shards.what == "noise":
                clips = by_length(clips, rng)
            yield from shuffle(SHUFFLED, rng=rng)(clips)
            if self.found[shards.what] == before:
                raise UserError(
                    f"Nothing in the {len(urls)} shards of {shards.what} can be decoded "
                    f"({'; '.join(self.failures[:1]) or urls[0]}): write or copy them again"
                )

    def _read_all(self, opened: Iterable[dict[str, str]], shards: ShardSet) -> Iterator[Clip]:
        for url in (shard["url"] for shard in opened):
            for clip in self._read(url, shards.counts.get(url)):
                self.found[shards.what] += 1
                yield clip

    def _read(self, url: str, expected: int | None) -> Iterator[Clip]:
        """The clips of one shard; notes what is wrong with it."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        seen = 0
        fault = ""
        try:
            with open_shard(url) as stream:
                for sample in group_by_keys(tar_file_expander([{"url": url, "stream": stream}])):
                    seen += 1
                    clip = self._clip(url, sample)
                    if clip is not None:
                        yield clip
        except LostShard as error:
            raise UserError(str(error)) from None  # as a plain one it finds its way out of a worker
        except UserError:
            raise
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error):
            fault = f"{url} (damaged, {seen} of its pieces read)"
        if not fault and expected is not None and seen < expected:
            fault = f"{url} (ends after {seen} of {expected} pieces)"
        if fault:
            self.failures.append(fault)

    def _clip(self, url: str, sample: Mapping[str, Any]) -> Clip | None:
        """The sample as a clip; None, and a note, if it cannot be one."""
        name = f"{url}: {sample['__key__']}"
        try:
            clip = parse_clip(name, sample)
        except DamagedRecording:
            self.failures.append(name)
            return None
        if clip.split not in (None, self.mixtures.split):
            raise UserError(
                f"{url} holds recordings of the {clip.split} split: give shards of the "
                f"{self.mixtures.split} split"
            )
        return clip
