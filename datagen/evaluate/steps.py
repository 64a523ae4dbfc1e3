"""Progress within a case: a song that takes minutes says at which step it is.

    for method in methods:  step(f"{signal}, {method}", number / len(methods)); ...

Conventions
    A protocol may call ``step`` in ``measure``; without a listener it does nothing. The share of the case that is done is between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OnStep = Callable[[str, float], None]


def _ignored(text: str, share: float) -> None:
    del text, share


_listener: ContextVar[OnStep] = ContextVar("listener", default=_ignored)


def step(text: str, share: float) -> None:
    """Reports what begins now, and which share of the case is already done.

    >>> from stemwright.datagen.evaluate.steps import reported_to, step
    >>> with reported_to(lambda text, share: print(text, share)):
    ...     step("bass, 7 dB", 0.5)
    bass, 7 dB 0.5
    """
    _listener.get()(text, share)


@contextmanager
def reported_to(listener: OnStep) -> Iterator[None]:
    """Within it, steps are reported to ``listener``."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
