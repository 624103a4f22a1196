"""The numbers of the decibel image, in a file that loads nothing: many ask for the rate alone.

One network input is 256 bins x 256 frames: 40 800 samples (2.55 s) at 16 kHz, hop 160.
"""

SAMPLE_RATE = 16_000
FFT_SIZE = 512
HOP = 160
BINS = 256
FRAMES = 256
SEGMENT = (FRAMES - 1) * HOP
FLOOR_DB = -80.0

# Of the network of v5, for one frame:
POSITIONS = 64  # of four bins each
FEATURES = 12  # (Re, Im, modulus) of four bins
OUTPUTS = 8  # (Re, Im) of four bins
