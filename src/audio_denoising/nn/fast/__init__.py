"""The fast convolution: `rows`, `winograd` for many channels, and `tiles`, the pieces of both.

`convolution.choose` says which is the fastest when; docs/fast_convolution.md explains each trick
with its measured gain.
"""
