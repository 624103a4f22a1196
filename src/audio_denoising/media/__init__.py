"""Sound and video files: reading them in blocks and writing them whole or not at all.

libsndfile reads what is not compressed, and writes plain WAV; FFmpeg, through PyAV, does the rest,
and keeps what a file holds beside its sound.
"""
