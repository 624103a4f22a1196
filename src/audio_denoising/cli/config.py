"""Options from a TOML file, checked like those of the command line, which go before them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer

from audio_denoising.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {  # of an option: TOML's types, and in words
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text in quotes"),
    Path: ((str,), "a path in quotes"),
    list: ((list,), "a list of texts in quotes"),
}


def from_file(context: typer.Context, path: Path) -> None:
    """The values of a file become the defaults of the command's options (`--config`).

    Raises:
        UserError: the file cannot be read, names something that is no option, or gives an option
            a value of another type; the sentence names file and key.
    """
    hints = get_type_hints(context.command.callback)
    kinds = {
        parameter.opts[0].removeprefix("--"): (parameter.name or "", _kind(hints, parameter))
        for parameter in context.command.params
        if parameter.param_type_name == "option" and parameter.name != "config"
    }
    context.default_map = _checked(path, _read(path), kinds, context.command_path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): check the name behind --config"
        ) from error
    except (ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise UserError(f"{path} is not a TOML file ({error}): put it right") from error


def _checked(
    path: Path, content: Mapping[str, Any], kinds: Mapping[str, tuple[str, Any]], command: str
) -> dict[str, Any]:
    """The values by the names of their parameters."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        option = key.replace("_", "-")
        if option not in kinds:
            near = get_close_matches(option, kinds, 1)
            way_out = f"the nearest is {near[0]}" if near else f"`{command} --help` lists them"
            raise UserError(f"{path}: {key} is not an option; {way_out}")
        parameter, kind = kinds[option]
        if parameter in values:
            raise UserError(f"{path}: {option} is given twice, with - and with _: keep one")
        if kind is list and isinstance(value, str):
            value = [value]
        types, words = _KINDS[kind]
        texts = value if kind is list and isinstance(value, list) else []
        if (
            not isinstance(value, types)
            or (isinstance(value, bool) and kind is not bool)
            or not all(isinstance(text, str) for text in texts)
        ):
            raise UserError(f"{path}: {key} must be {words}, not {_shown(value)}")
        values[parameter] = value
    return values


def _kind(hints: Mapping[str, Any], parameter: Any) -> Any:
    """The type of an option without its `None`: one of `_KINDS`."""
    hint = hints[parameter.name]
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    return get_origin(hint) or hint


def _shown(value: Any) -> str:
    """A value as a TOML file has it, cut short."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."
