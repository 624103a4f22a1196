"""Train the torch.nn baseline: `python train_torch.py --help` lists the options."""

import sys

from audio_denoising.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train", "torch"]
    main()
