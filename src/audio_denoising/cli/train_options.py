"""Options of `denoise train`, as its help explains them; `training.options` has them as one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from audio_denoising.cli.data_options import DATA
from audio_denoising.cli.options import device_option, option

COST, RUN = "Saving memory and time", "Run and files"
OWN = "the version's own"

_data, _model = partial(option, DATA), partial(option, "Model")
_steps, _cost = partial(option, "Optimisation"), partial(option, COST)
_run, _watch = partial(option, RUN), partial(option, "Watching")

Version = Annotated[
    str,
    typer.Argument(
        help="v2, v3, v4, torch or v5: `denoise models` tells how they differ.",
        metavar="VERSION",
    ),
]
Augmentation = Annotated[
    str | None,
    _data(
        "What else happens to a mixture of speech and noise: nothing, at 0 to 15 dB "
        "(original) or -3 to 27 dB (wide), or rooms, filters, levels and more (varied). v5 has "
        "a preset of its own (rich): babble, coloured noise, pauses and more besides.",
        "PRESET",
        OWN,
        names="--augment",
    ),
]
Rooms = Annotated[
    list[Path] | None,
    _data("Folder of impulse responses of rooms, for v5; may be repeated.", "DIR", False),
]
Size = Annotated[
    str | None, _model("How wide the network is; base is v5's.", "small|base|large", OWN)
]
StartFrom = Annotated[
    str | None,
    _model("Weights to begin with, in place of random ones (fine-tuning).", "VERSION|FILE", False),
]
Epochs = Annotated[int | None, _steps("Rounds of training; each ends with a validation.", "N", OWN)]
EpochSize = Annotated[
    int | None, _steps("Mixtures in one epoch.", "N", "one for every speech file; v5: 8000")
]
BatchSize = Annotated[
    int | None, _steps("Mixtures behind one step, an update of all weights.", "N", OWN)
]
ClipSeconds = Annotated[
    float | None,
    _steps(
        "Length of a mixture, for v5; those of the other versions are images of 2.55 s.",
        "SECONDS",
        OWN,
    ),
]
LearningRate = Annotated[
    float | None, _steps("Learning rate: how far a step goes.", "RATE", OWN, names="--lr")
]
Schedule = Annotated[
    str | None,
    _steps(
        "The learning rate stays (constant), falls to 0 in the last quarter (linear-end) "
        "or along half a cosine (cosine). A constant run may be resumed with linear-end.",
        "KIND",
        OWN,
    ),
]
WarmupSteps = Annotated[
    int | None,
    _steps("Steps in which the learning rate rises from 0.", "STEPS", OWN, names="--warmup"),
]
Momentum = Annotated[
    float,
    _steps("Share of the last step that goes into the next one, in v2 and v3 (SGD).", "SHARE"),
]
ClipNorm = Annotated[
    float | None,
    _steps("Shorten gradients whose norm over all weights is above this; 0: never.", "NORM", OWN),
]
Ema = Annotated[
    float | None,
    _steps(
        "Validate and keep an average of the weights over past steps that forgets at "
        "this rate, such as 0.999; 0: keep the last weights.",
        "RATE",
        OWN,
    ),
]
Perceptual = Annotated[
    float,
    _steps(
        "Weight of what PESQ hears in v5's loss, such as 1. May be changed where a constant "
        "run is resumed.",
        "WEIGHT",
    ),
]
Patience = Annotated[
    int, _steps("Stop after so many epochs without a better validation; 0: never.", "EPOCHS")
]
Seed = Annotated[int, _steps("Decides first weights, order and mixtures.", "N")]
Accumulate = Annotated[
    int, _cost("Compute a batch in so many parts: less memory, the same step.", "PARTS")
]
Recompute = Annotated[
    bool, _cost("Forget inner results and compute them again: less memory, more time.", "", False)
]
Device = Annotated[str, device_option(COST)]
Threads = Annotated[int | None, _cost("Processor threads that compute.", "N", "all")]
Out = Annotated[
    Path | None, _run("Folder for checkpoints, history and curves.", "DIR", "runs/VERSION-SIZE")
]
Resume = Annotated[bool, _run("Continue the run in --out.", "", False)]
SaveSeconds = Annotated[
    float,
    _run("Time between checkpoints: what a power cut may cost.", "SECONDS", names="--save-every"),
]
Tensorboard = Annotated[
    bool, _watch("Write figures, pictures and sound for TensorBoard to OUT/tensorboard.", "", False)
]
Profile = Annotated[
    bool,
    _watch(
        "Tell which operators two early steps spend time on; trace in OUT/profile.json.", "", False
    ),
]
