"""Train v4, the from-scratch engine with Adam: `python train_v4.py --help` lists the options."""

import sys

from audio_denoising.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train", "v4"]
    main()
