"""Draws the frozen list of test mixtures. Run once; kept to show where the list comes from.

python -m benchmarks.draw_test_list --speech DIR --noise DIR > test_mixtures.json
"""

import argparse
import json
from dataclasses import asdict

from audio_denoising.data.corpus import index_noise, index_speech
from audio_denoising.data.splits import split
from audio_denoising.evaluation.testset import draw_list

SEED = 2026


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", required=True, help="tree with LibriSpeech's test-other in it")
    parser.add_argument("--noise", required=True, help="tree with UrbanSound8K's fold10 in it")
    folders = parser.parse_args()
    test = split(index_speech(folders.speech), index_noise(folders.noise)).test
    # A fold-10 source can lend its clips in other folds to the test split; the list names fold 10.
    noise = [recording for recording in test.noise if recording.split_hint == "fold10"]
    lines = [json.dumps(asdict(mixture)) for mixture in draw_list(test.speech, noise, seed=SEED)]
    print(f'{{"seed": {SEED}, "mixtures": [\n  ' + ",\n  ".join(lines) + "\n]}")


if __name__ == "__main__":
    main()
