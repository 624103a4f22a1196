"""``python -m audio_denoising`` is the ``denoise`` command."""

from audio_denoising.cli.app import main

if __name__ == "__main__":
    main()
