"""The tiny corpus, and a server, as the tests of `corpora` have them."""

from tests.corpora.conftest import server, tiny_noise, tiny_speech, write

__all__ = ["server", "tiny_noise", "tiny_speech", "write"]
