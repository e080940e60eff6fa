"""Cutting texts of users to what the contract takes."""

from __future__ import annotations


def clip(text: object, bytes_max: int) -> str:
    """The text in at most so many bytes of UTF-8, its end cut off; what has no UTF-8 form becomes `?`."""
    text = text if isinstance(text, str) else str(text)
    if len(text) <= bytes_max and text.isascii():
        return text
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def clip_start(text: str, bytes_max: int) -> str:
    """The same with the beginning cut off, for a stack trace, whose end tells most."""
    return text.encode(errors="replace")[-bytes_max:].decode(errors="ignore")
