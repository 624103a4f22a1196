"""`denoise verify`: the gradient ladder as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from audio_denoising.errors import UserError

console = Console(highlight=False, emoji=False)

_COLUMNS = ("layer", "forward", "gradient", "differences", "ours", "torch.nn", "")


def verify() -> None:
    """Check every hand-written backward pass on this machine.

    The judges are torch.nn with autograd and finite differences, both in float64; errors are
    relative, the largest of the output or of all gradients. Times are of a forward and a backward
    pass in float32 with the threads that torch uses by itself. All together is about half a minute
    of work for a processor.

    Example:
      denoise verify
    """
    from rich.live import Live

    from audio_denoising.evaluation.verification import DIFFERENCE_LIMIT, FORMULA_LIMIT, subjects
    from audio_denoising.evaluation.verification import verify as judge

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("layer", "") else "right")
    chosen = subjects()
    failed = []
    with Live(table, console=console, transient=True):
        for verdict in judge(chosen):
            errors = (verdict.forward, verdict.gradient, verdict.difference)
            times = (verdict.seconds, verdict.twin_seconds)
            table.add_row(
                verdict.name,
                *(f"{error:.0e}" for error in errors),
                *(f"{1e3 * seconds:.2f} ms" for seconds in times),
                "[green]OK[/green]" if verdict.passed else "[bold red]WRONG[/bold red]",
            )
            if not verdict.passed:
                failed.append(verdict.name)
    console.print(table)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(chosen)} do not agree with their judges ({', '.join(failed)}): "
            "this is a bug in the engine or in this build of torch; please report the table"
        )
    console.print(
        f"All {len(chosen)} agree: with torch.nn within {FORMULA_LIMIT:.0e}, "
        f"with finite differences within {DIFFERENCE_LIMIT:.0e}."
    )
