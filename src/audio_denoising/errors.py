"""The exception and the warning whose messages are written for the person at the keyboard."""

import re


class UserError(ValueError):
    """Something the user can put right: a missing file, an unreadable folder, a wrong option.

    The message is one sentence that names the file or option and says the way out. The command
    line prints it and exits with code 2; every other exception is a fault of the program.
    """


class UserNotice(UserWarning):
    """Something the user should know although the work goes on, in one sentence like an error's."""


def as_typed(sentence: str) -> str:
    """A sentence for the command line, where the argument ``in_place=True`` is ``--in-place``."""
    return re.sub(
        r"\b(force|in_place)=True\b", lambda own: f"--{own[1].replace('_', '-')}", sentence
    )
