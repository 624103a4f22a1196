"""Weights as a folder, laid out as model hubs do, and the weights in such a folder or on the hub.

`model.safetensors` is what cleans and knows all about itself. `config.json` says the most important
of that again for programs that do not read it, `README.md` for people: the card of the model. Where
the package onnx is there, the network lies beside them as ONNX, too.
"""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from audio_denoising.errors import UserError
from audio_denoising.folders import whole_folder
from audio_denoising.models import VERSIONS
from audio_denoising.models.versions import FREE, SHIPPED, WEIGHTS, shipped
from audio_denoising.paths import is_folder, refuse_address, require_free

if TYPE_CHECKING:  # with torch behind it, which a wrong name of a folder need not wait for
    from audio_denoising.models.header import Checkpoint

CONFIG, CARD, ONNX, ONNX_SAMPLES = "config.json", "README.md", "model.onnx", "model_samples.onnx"

_CAUSAL = (
    "A small causal network: it hears 32 ms every 16 ms and nothing of what is still to come, so "
    "it cleans live sound."
)
_IMAGES = "A U-Net on decibel spectrograms of 2.55 s: it cleans recordings, not live sound."


def require_free_folder(folder: Path, *, force: bool = False) -> None:
    """Refuses what cannot become such a folder.

    UserError for a file, a folder that holds something that no export has written, or an earlier
    export where ``force`` is not given.
    """
    try:
        held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise UserError(
            f"{folder} cannot become a folder of weights ({error}): choose another name"
        ) from error
    if others := sorted(held - {WEIGHTS, CONFIG, CARD, ONNX, ONNX_SAMPLES}):
        raise UserError(f"{folder} holds other files ({others[0]}): name a new or empty folder")
    if held and not force:
        raise UserError(f"{folder} is not empty: choose another name, or replace it by force=True")
    require_free(folder / WEIGHTS, force=True)


def save_folder(checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Writes the folder, whole or not at all, in place of what was there, and names its files."""
    from audio_denoising.models.checkpoint import describe, export

    try:
        with whole_folder(folder) as fresh:
            export(checkpoint, fresh / WEIGHTS)
            about = describe(checkpoint.version, checkpoint.size) | {"licence": checkpoint.licence}
            (fresh / CONFIG).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            if find_spec("onnx"):
                from audio_denoising.models.onnx_export import save_onnx

                save_onnx(checkpoint, fresh / ONNX)
                if VERSIONS[checkpoint.version].causal:
                    save_onnx(checkpoint, fresh / ONNX_SAMPLES, samples=True)
            written = sorted(path.name for path in fresh.iterdir())
            (fresh / CARD).write_text(_card(checkpoint, written), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error}; choose another folder or free some space"
        ) from error
    return [folder / name for name in (CARD, *written)]


def find_weights(name: str | Path) -> Path:
    """The weights in a folder of that layout, or of a model on the hub, which is downloaded once.

    UserError where there is no such folder or model ("user/name"), or the package that asks the hub
    is missing.
    """
    folder = Path(name) if is_folder(Path(name)) else _downloaded(str(name))
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{name} holds no {WEIGHTS}: give a folder that `denoise export` has written"
        )
    return folder / WEIGHTS


def _downloaded(name: str) -> Path:
    """Where the files of a model on the hub are now, on this machine."""
    refuse_address(name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(
            f"there is no folder {name}: check the name, or give that of a model on the hub, "
            f"user/name"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"there is no folder {name}, and to look for it on the hub the package huggingface_hub "
            f"is missing: pip install huggingface_hub"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=[WEIGHTS, CONFIG]))
    except Exception as error:  # of the hub, the network or the disk, by the types of each
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"{name} is no folder here and cannot be had from the hub ({reason}): check the name "
            f"and the network"
        ) from error


def _card(checkpoint: Checkpoint, files: list[str]) -> str:
    """`weights/card.md`, filled in: a head in YAML for hubs, then what people have to know."""
    from audio_denoising.dsp.signals import SIGNALS

    licence = checkpoint.licence or "not recorded: ask whoever trained these weights"
    free, causal = licence == FREE, VERSIONS[checkpoint.version].causal
    named = "non-commercial" if checkpoint.non_commercial else "see-below"
    graphs = ""
    if ONNX in files:
        also = f"; `{ONNX_SAMPLES}` takes and gives samples" if causal else ""
        graphs = f"\n`{ONNX}` is the network alone, for onnxruntime{also}.\n"
    return (
        (SHIPPED / "card.md")
        .read_text(encoding="utf-8")
        .format(
            licence_lines="license: cc0-1.0" if free else f"license: other\nlicense_name: {named}",
            name=f"{checkpoint.version}-{checkpoint.size}",
            hears=_CAUSAL if causal else _IMAGES,
            licence=f"{licence} (CC0 1.0)" if free else licence,
            rate=SIGNALS[VERSIONS[checkpoint.version].hears]["sample_rate"],
            graphs=graphs,
            figures=_figures(checkpoint),
        )
    )


def _figures(checkpoint: Checkpoint) -> str:
    """What the weights reached: in validation, and those that ship on the list that judges all."""
    text = f"{checkpoint.steps:,} steps of training."
    if last := checkpoint.history[-1:]:
        sdr, gain = last[0]["validation_si_sdr"], last[0]["validation_si_sdr_gain"]
        text += f" Validation: SI-SDR {sdr:.2f} dB, {gain:+.2f} dB over the noisy input."
    if checkpoint.path != shipped(checkpoint.version):
        return text
    wanted = ("model", "---", "noisy input", checkpoint.version)
    block = "quality-v5" if VERSIONS[checkpoint.version].causal else "quality"
    tables = (SHIPPED / "figures.md").read_text(encoding="utf-8")
    _, _, table = tables.partition(f"<!-- measured: {block} -->")
    rows = table.partition("<!-- end -->")[0].strip().splitlines()
    kept = "\n".join(row for row in rows if row.split("|")[1].strip(" *") in wanted)
    return f"{text}\n\nOn 160 mixtures that no training has heard, 0 to 15 dB:\n\n{kept}"
