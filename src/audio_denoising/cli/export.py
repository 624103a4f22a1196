"""The `denoise export` command: weights to share, for this program or for others."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from audio_denoising.cli.options import require_usable
from audio_denoising.errors import UserError
from audio_denoising.models.versions import locate
from audio_denoising.paths import is_folder, require_free

if TYPE_CHECKING:
    from audio_denoising.models.header import Checkpoint

console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)


def export(
    weights: Annotated[
        str,
        typer.Argument(
            help="A checkpoint of `denoise train`, or a version whose weights ship.",
            metavar="VERSION|FILE",
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            help="The file to write, .safetensors, .pth or .onnx, or a folder.", metavar="OUTPUT"
        ),
    ],
    samples: Annotated[
        bool, typer.Option("--samples", help="Of v5 an .onnx that takes samples and gives samples.")
    ] = False,
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            help="What the weights may be used for, as the recordings behind them allow it: "
            "'any use' (CC0 1.0), or in words of your own.",
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Write a checkpoint's weights: to clean with and share, to publish, or for other programs.

    A .safetensors or .pth file holds weights and history in half precision. An .onnx file is the
    network alone in float32, for onnxruntime and its like. A name without an ending is a folder
    laid out as model hubs do: weights, config.json, a card, and the network as ONNX where the
    package onnx is there. Names of folders on this machine are left out.

    Examples:
      denoise export runs/v4-small/best.pth v4.safetensors
      denoise export v5 v5.onnx
      denoise export v5 hub/v5
    """
    source, path = locate(weights), Path(output)
    as_folder = output.endswith(("/", os.sep)) or is_folder(path) or not path.suffix
    if samples and (as_folder or path.suffix != ".onnx"):
        raise UserError("--samples goes with an .onnx file: end the name of the output in .onnx")
    if as_folder:
        _to_folder(source, path, licence, force)
        return
    if path.suffix not in (".safetensors", ".pth", ".onnx"):
        raise UserError(
            f"{path} is no format of `denoise export`: end the name in .safetensors, .pth or "
            f".onnx, or in / for a folder"
        )
    if path.suffix == ".onnx" and find_spec("onnx") is None:
        raise UserError(f"{path} needs the package onnx, which is not installed: pip install onnx")
    require_free(path, force=force)
    require_usable(weights, "--samples" if samples else "")

    from audio_denoising.models.checkpoint import export as write

    checkpoint = _loaded(source, licence)
    if path.suffix == ".onnx":
        from audio_denoising.models.onnx_export import save_onnx

        save_onnx(checkpoint, path, samples=samples)
    else:
        write(checkpoint, path)
    _tell(path, [path])


def _to_folder(source: Path, folder: Path, licence: str, force: bool) -> None:
    from audio_denoising.models.hub import require_free_folder, save_folder

    require_free_folder(folder, force=force)
    require_usable(str(source))

    written = save_folder(_loaded(source, licence), folder)
    _tell(folder, written)
    console.print(f"  {', '.join(path.name for path in written)}")


def _loaded(source: Path, licence: str) -> Checkpoint:
    from audio_denoising.models.checkpoint import load_checkpoint

    found = load_checkpoint(source)
    return found.licensed(licence) if licence else found


def _tell(place: Path, written: list[Path]) -> None:
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    console.print(f"{place} {megabytes:.1f} MB", style="bold")
