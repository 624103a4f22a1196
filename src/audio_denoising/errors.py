"""Sentences for the person at the keyboard: the exception and the warning that carry them."""

import errno
import os
import re


class UserError(ValueError):
    """Something the user can put right: a missing file, an unreadable folder, a wrong option.

    The message is one sentence that names the file or option and says the way out. The command
    line prints it and exits with code 2; every other exception is a fault of the program.
    """


class UserNotice(UserWarning):
    """Something the user should know although the work goes on, in one sentence like an error's."""


def told(error: BaseException, again: str) -> tuple[str, bool]:
    """What to say of an error, and whether the user can put it right.

    Beside a `UserError` that is what the system says of a file, or of memory; all else is a fault
    of the program.

    Args:
        error: what was raised.
        again: how to see where a fault was, such as ``the same command with --debug``.
    """
    if isinstance(error, UserError):
        return as_typed(str(error)), True
    if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
        # Without a name it is the standard output, sent to a file on a full disk.
        name = os.fsdecode(error.filename) if error.filename else "the standard output"
        todo = "check the name, the permissions and the space on the disk"
        return f"{name} cannot be used ({error.strerror}): {todo}", True
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own
        return "there is too little memory: close other programs, or choose --device cpu", True
    return (
        f"{type(error).__name__}: {error}; this should not happen: {again} shows where it did",
        False,
    )


def as_typed(sentence: str) -> str:
    """A sentence for the command line, where the argument ``in_place=True`` is ``--in-place``."""
    return re.sub(
        r"\b(force|in_place)=True\b", lambda own: f"--{own[1].replace('_', '-')}", sentence
    )


def counted(count: int, noun: str) -> str:
    """ "1 epoch", "2 epochs", "1,000 speech files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
