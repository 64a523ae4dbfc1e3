"""Frequencies of filters against half the sample rate.

What a user gives at or above it is an error. A search may step there on its way, as towards a shelf at 20 kHz of audio at 22.05 kHz:
within ``limited``, such a frequency is taken for the highest one possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

HIGHEST = 0.4995  # of the sample rate: where the formulas of filters are still stable

N = TypeVar("N")

_limited: ContextVar[bool] = ContextVar("limited", default=False)


@contextmanager
def limited() -> Iterator[None]:
    """Within it no frequency is too high."""
    token = _limited.set(True)
    try:
        yield
    finally:
        _limited.reset(token)


def below_nyquist(name: str, hz: N, sample_rate: int) -> N | float:
    """The frequency. Raises ValueError where it is at or above half the sample rate; a tensor, which has derivatives, is left as it is."""
    if not isinstance(hz, float | int) or 2.0 * hz < sample_rate:
        return hz
    if _limited.get():
        return HIGHEST * sample_rate
    raise ValueError(f"{name} = {hz:g} needs a sample rate above {2.0 * hz:g} Hz; got {sample_rate} Hz")
