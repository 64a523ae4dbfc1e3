"""What every verb has beside its own arguments: ``--verbose``, ``--quiet``, a log, and one way in which it is stopped.

Conventions
    Both options belong to the verb (``stemwright build songs corpus -q``), since that is where people type them and where ``--help``
    shows them. ``--quiet`` leaves out progress and notes: what remains are the tables that a verb is for, what was rejected,
    warnings and errors. ``--verbose`` gives one line for everything that is finished, what the log gets, and the traceback of an error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup

from stemwright.datagen.cli.options import OUTPUT, completed_help
from stemwright.datagen.cli.stopping import UNCHANGED, Stopped

F = TypeVar("F", bound=Callable[..., Any])

VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log every step; show the traceback of an error.", rich_help_panel=OUTPUT)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress and notes.", rich_help_panel=OUTPUT)]
QUIET, NORMAL, VERBOSE = -1, 0, 1

verbosity: ContextVar[int] = ContextVar("verbosity", default=NORMAL)


class Verb(TyperCommand):
    """A verb, whose help calls no switch a <bool> and lists ``--help`` with what every verb has."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line. Of SONG... OUT with one word, OUT is what is missing, though the parser gives that word to it."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:  # among them the class of missing ones, which typer has, or click
            missing, arguments = cast(Any, error.param), [each for each in self.params if each.param_type_name == "argument"]
            if missing in arguments and missing.nargs == -1 and arguments[-1].required:
                given, *_ = self.make_parser(ctx).parse_args(words)
                if given.get(str(arguments[-1].name)) is not None:
                    error.param = cast(Any, arguments[-1])
            raise

    def get_params(self, ctx: Any) -> Any:
        """The options and arguments of the verb."""
        return [_without_type(option) for option in super().get_params(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help, with the names that other packages add."""
        for option in self.params:
            option.help = completed_help(option.help) if getattr(option, "help", None) else None  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)

    def get_help_option(self, ctx: Any) -> Any:
        """The option ``--help``."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = OUTPUT
        return option


class VerbGroup(TyperGroup):
    """A group of verbs, likewise; its help on completion fits a narrow terminal."""

    def get_params(self, ctx: Any) -> Any:
        """The options of the group."""
        options = [_without_type(option) for option in super().get_params(ctx)]
        for option in options:
            option.help = COMPLETION_HELP.get(str(option.name), option.help)
        return options


def _without_type(option: Any) -> Any:
    if getattr(option, "is_flag", False):
        option.metavar = ""
    return option


COMPLETION_HELP = {
    "install_completion": "Install completion of verbs, options and names in this shell.",
    "show_completion": "Print the completion script instead of installing it.",
}


class Verbs(typer.Typer):
    """A group of verbs, each of which has what every verb has."""

    def command(self, name: str | None = None, *, rich_help_panel: str | None = None) -> Callable[[F], F]:  # type: ignore[override]
        """Adds a verb; ``rich_help_panel`` is the heading that it is listed under."""
        add = super().command(name, cls=Verb, rich_help_panel=rich_help_panel)

        def adding(function: F) -> F:
            add(_with_manners(function))
            return function

        return adding


def _with_manners(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the two options more, run within its log."""
    from stemwright.datagen.cli.logs import logging_of

    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def verb(*arguments: Any, verbose: bool = False, quiet: bool = False, **options: Any) -> None:
        if verbose and quiet:
            raise typer.BadParameter("expected --verbose or --quiet, not both")
        before = verbosity.set(VERBOSE if verbose else QUIET if quiet else NORMAL)
        try:
            with logging_of(function.__name__, verbose=verbose):
                function(*arguments, **options)
        except KeyboardInterrupt:
            raise Stopped(UNCHANGED) from None
        finally:
            verbosity.reset(before)

    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in (("verbose", VerboseOption), ("quiet", QuietOption))
    ]
    parameters = [*signature.parameters.values(), *more]
    verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return verb
