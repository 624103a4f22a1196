"""Numbers with their noun, as a person reads them."""


def counted(count: int, noun: str) -> str:
    """ "1 epoch", "2 epochs", "1,000 speech files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
