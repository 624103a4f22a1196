"""The numbers of the decibel image, in a file without torch: many ask for no more than the rate.

One network input is 256 bins x 256 frames: 40 800 samples (2.55 s) at 16 kHz, hop 160.
"""

SAMPLE_RATE = 16_000
FFT_SIZE = 512
HOP = 160
BINS = 256
FRAMES = 256
SEGMENT = (FRAMES - 1) * HOP
FLOOR_DB = -80.0
