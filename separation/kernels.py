"""Compiled recursions: the only module that calls numba and decides where compiled code is cached.

numba caches it beside the source, or else in the user's cache, and refuses a function ("cannot cache function") where the user may write
to neither: an installation of another account and no home. Here that is detected before the first function is compiled, and the private
temporary folder replaces both; without one nothing is cached and each process compiles its own code.

Conventions
    One decision holds for a process and the processes that it starts: it is set in numba's configuration and in ``NUMBA_CACHE_DIR``.
    The first run of a machine compiles what it needs. What a kernel makes or fills arrays with (``numpy.zeros``, ``a[:] = b``, ``a += b``)
    takes half a second to two seconds each to compile, for the words of its errors: arrays are made by the caller and filled in loops.
    A quotient by zero is infinite or NaN, as in numpy: a loop that raises an error there cannot be vectorised.
    Kernels compute the same wherever they are cached. They are compiled for the processor that they run on: equal bytes are guaranteed
    between machines of one kind with the same versions, not between processors with different instructions.

References
    numba, documentation of ``NUMBA_CACHE_DIR``; its class ``numba.core.caching.CacheImpl``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

import numba
from numba.extending import intrinsic

from stemwright.manifests.disk.folders import private_folder

_config: Any = numba.config
_without = False  # nothing is cached


def njit(*, nogil: bool = False, fastmath: bool | set[str] = False, part: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """numba's decorator for a kernel: compiled without the interpreter, and cached where possible.

    ``part``: of the kernels that call it, whose ``fastmath`` it must have, and compiled with them alone, which saves compiling it twice.
    """

    def compiled(kernel: Callable[..., Any]) -> Any:
        prepare(Path(kernel.__code__.co_filename).parent)
        inline: Literal["never", "always"] = "always" if part else "never"
        return numba.njit(kernel, cache=not _without, nogil=nogil, fastmath=fastmath, inline=inline, error_model="numpy")

    return compiled


def _cast(_: Any, value: Any) -> Any:
    """The bits of a float64 as an int64, or the float64 of these bits: in a kernel, and of all numbers of a vector at once."""
    to = numba.int64 if value == numba.float64 else numba.float64
    return to(value), lambda context, builder, _, values: builder.bitcast(values[0], context.get_value_type(to))


cast: Any = intrinsic(_cast)


@cache
def prepare(folder: Path) -> None:
    """Makes the functions of a folder's sources, ours or a library's, compilable and, if possible, cached."""
    source = next(iter(sorted(folder.glob("*.py"))), None)
    if source is None or _can_keep(source):
        return
    if (private := private_folder()) is not None:
        keep_in(private / "numba")
        if _can_keep(source):
            return
    keep_nothing()


def _can_keep(source: Path) -> bool:
    """Whether numba finds a place for the functions of a source file, which it looks for when a function is decorated."""
    probe = FunctionType(_probe.__code__.replace(co_filename=str(source)), {"__name__": __name__})
    try:
        numba.njit(probe, cache=True)
    except RuntimeError:  # "cannot cache function": the only one that it raises here
        return False
    return True


def _probe(value: float) -> float:
    return value


def kept_in() -> Path | None:
    """The folder where compiled functions are cached if it is neither beside their sources nor numba's own."""
    return Path(_config.CACHE_DIR) if _config.CACHE_DIR else None


def keep_in(folder: Path) -> None:
    """Caches functions that are decorated from now on in a folder, in this process and in those that it starts."""
    os.environ["NUMBA_CACHE_DIR"] = _config.CACHE_DIR = str(folder)


def keep_nothing() -> None:
    """Compiles functions that are decorated from now on for this process alone. Libraries that request caching get none.

    A generalised ufunc has two caches, of its kernel and of the wrapper around it, and a wrapper calls its kernel by a name that each
    compilation makes: with a wrapper from the cache around a kernel that is not, the first call would crash.
    """
    global _without
    _without = True
    for module, dispatcher in (("numba.core.dispatcher", "Dispatcher"), ("numba.np.ufunc.ufuncbuilder", "UFuncDispatcher")):
        with suppress(ImportError, AttributeError):
            getattr(importlib.import_module(module), dispatcher).enable_caching = _do_not_keep
    with suppress(ImportError, AttributeError):
        wrappers: Any = importlib.import_module("numba.np.ufunc.wrappers")
        wrappers.GufWrapperCache = partial(_empty_cache, wrappers.NullCache)


def _do_not_keep(_: Any) -> None:
    """In place of numba's ``enable_caching``: the cache stays the empty one that each dispatcher begins with."""


def _empty_cache(kind: Callable[[], Any], **_: Any) -> Any:
    """In place of numba's cache of the wrappers of generalised ufuncs."""
    return kind()
