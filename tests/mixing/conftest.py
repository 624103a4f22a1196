"""The tiny corpus, as the tests of `corpora` have it."""

from tests.corpora.conftest import server, tiny_noise, tiny_speech, write

__all__ = ["server", "tiny_noise", "tiny_speech", "write"]
