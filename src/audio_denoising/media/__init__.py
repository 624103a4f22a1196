"""Sound and video files: reading them in blocks and writing them whole or not at all."""
