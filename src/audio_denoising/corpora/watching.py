"""What a long transfer tells whoever watches it, and the silent watcher for when nobody does."""

from __future__ import annotations


class Watcher:
    """Hears about work measured in bytes. This one does nothing; displays override it."""

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """A piece of work starts: ``total`` bytes, of which ``done`` were there already."""

    def advance(self, done: int) -> None:
        """``done`` bytes of the current piece are finished."""

    def say(self, text: str) -> None:
        """Something worth a line happened."""
