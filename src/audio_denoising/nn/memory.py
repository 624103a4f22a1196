"""Large buffers, used again instead of asked for again, and stretches that stay in the caches.

On a CPU a fresh 60 MB tensor costs more time in page faults than the arithmetic that fills it.
`empty` therefore keeps the buffers it gave out and gives one out again as soon as nobody holds a
tensor on it any more; `scratch` is the one work area that all layers of a thread share, valid
until the next call. Small tensors, and GPUs (whose allocator already does this), go to torch.
What is kept follows the need: sizes that nobody asks for any more are forgotten bit by bit, and
`release` gives everything back.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

SMALL = 1 << 18  # bytes; below this malloc recycles memory well by itself
FADING = 0.9  # of the peak, at every new buffer
_local = threading.local()


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialised contiguous tensor with the dtype and device of `like`."""
    size = math.prod(shape) * like.element_size()
    if size < SMALL or like.device.type != "cpu":
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    pool: list[torch.UntypedStorage] = _local.__dict__.setdefault("pool", [])
    # Free are those that no tensor stands on: the storage object asked counts as one.
    free = [s for s in pool if torch._C._storage_Use_Count(s._cdata) == 1]
    fitting = [s for s in free if size <= s.nbytes() <= 2 * size]
    with torch.inference_mode(False):  # a buffer must serve inside and outside of inference mode
        if fitting:
            storage = min(fitting, key=torch.UntypedStorage.nbytes)
        else:
            _make_room(pool, free, size)
            storage = torch.UntypedStorage(size)
            pool.append(storage)
        return torch.empty(0, dtype=like.dtype).set_(storage, 0, shape)  # type: ignore[call-overload]


def empty_like(x: Tensor) -> Tensor:
    """An uninitialised tensor that lies in memory as x does, or contiguous where x has gaps."""
    place = torch.empty_like(x, device="meta")
    return empty((x.numel(),), x).as_strided(x.shape, place.stride())


def _make_room(
    pool: list[torch.UntypedStorage], free: list[torch.UntypedStorage], size: int
) -> None:
    """Forgets free buffers so that the pool never outgrows what was in use at one time.

    That peak fades: a pool that finds no buffer of the right size keeps those of another time.
    """
    total = size + sum(s.nbytes() for s in pool)
    in_use = total - sum(s.nbytes() for s in free)
    _local.most = max(in_use, int(FADING * _local.__dict__.get("most", 0)))
    for storage in free:  # the oldest first
        if total <= _local.most:
            break
        pool.remove(storage)
        total -= storage.nbytes()


def release() -> None:
    """Gives back all that this thread keeps for later; tensors that are in use stay valid."""
    _local.__dict__.clear()


def scratch(shape: tuple[int, ...], like: Tensor, use: str = "rows") -> Tensor:
    """A contiguous work area with undefined content, valid until the next one of the same use.

    There is one area per use and type for all layers of a thread; a GPU's allocator keeps its own.
    """
    if like.device.type != "cpu":
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    count = math.prod(shape)
    areas: dict[object, Tensor] = _local.__dict__.setdefault("scratch", {})
    key = (use, like.dtype)
    if key not in areas or areas[key].numel() < count:
        with torch.inference_mode(False):
            areas[key] = torch.empty(count, dtype=like.dtype, device=like.device)
    return areas[key][:count].view(shape)


def channels_last(x: Tensor) -> Tensor:
    """(N, C, F, T) -> a contiguous (N, F, T, C) view, copied only if x lies otherwise."""
    return x.permute(0, 2, 3, 1).contiguous()
