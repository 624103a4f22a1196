"""Run every version on the same recordings and show the result: `denoise compare`.

python inference_compare.py examples/noisy_street.wav --clean examples/clean_street.flac
"""

import sys

from audio_denoising.cli.app import main

if __name__ == "__main__":
    sys.argv[1:1] = ["compare"]
    main()
