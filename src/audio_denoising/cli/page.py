"""`denoise page` and `denoise serve`: the page in a browser, as a folder or from this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from audio_denoising.cli.options import require_usable
from audio_denoising.paths import require_free

console = Console(highlight=False, emoji=False, soft_wrap=True)

_Model = Annotated[
    str,
    typer.Option(
        help="Version or checkpoint file that cleans; one of v5 alone is small enough for a "
        "browser.",
        metavar="NAME|FILE",
    ),
]


def page(
    folder: Annotated[Path, typer.Argument(help="Where to write it.", metavar="DIR")],
    model: _Model = "v5",
) -> None:
    """Write the page that cleans recordings in a browser, to be put on any web server.

    The network runs in the browser; no recording leaves the machine that opens the page.

    Example:
      denoise page site
    """
    from audio_denoising.web.page import IN_BROWSER, page_files, write_page

    for name in page_files():
        require_free(folder / name, force=True)
    require_usable(model, IN_BROWSER)
    written = write_page(folder, model)
    size = sum(path.stat().st_size for path in written)
    console.print(f"{folder}: {len(written)} files, {size / 1e3:.0f} kB")
    console.print(
        f"Put it on a web server, or try it: python -m http.server -d {folder}", markup=False
    )


def serve(
    port: Annotated[
        int, typer.Option(help="Port on this machine; 0 for any that is free.", min=0, max=65535)
    ] = 8765,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    model: _Model = "v5",
) -> None:
    """Open a page on this machine to clean and compare recordings and videos.

    Only this machine reaches it, and only by the address that is printed. When it is stopped
    (Ctrl-C) nothing of any recording is left.

    Example:
      denoise serve --open
    """
    import webbrowser

    from audio_denoising.web.page import IN_BROWSER

    require_usable(model, IN_BROWSER)

    from audio_denoising.cleaning.denoiser import Denoiser
    from audio_denoising.web.server import Server

    server = Server(Denoiser(model), model, port)
    try:
        console.print(server.address, markup=False)
        console.print("Ctrl-C ends it.")
        if open_browser:
            webbrowser.open(server.address)
        server.serve_forever()
    except KeyboardInterrupt:
        pass  # the usual end
    finally:
        server.server_close()
