"""Options are called by the names in the documentation, with every version of typer that we allow."""

import inspect
from typing import get_args

import pytest
import typer
from typer.models import OptionInfo

from stemwright.datagen.cli.app import app


def callbacks(application: typer.Typer) -> list:
    own = [command.callback for command in application.registered_commands]
    return own + [callback for group in application.registered_groups for callback in callbacks(group.typer_instance)]


@pytest.mark.parametrize("callback", callbacks(app), ids=lambda callback: callback.__name__)
def test_an_option_whose_value_has_its_own_name_is_named_explicitly(callback):
    # typer 0.27 takes such a metavar for the name: --DEVICE, and --device is unknown.
    for name, parameter in inspect.signature(callback, eval_str=True).parameters.items():
        for info in get_args(parameter.annotation)[1:]:
            if isinstance(info, OptionInfo) and info.metavar is not None and info.metavar.lower() == name:
                assert f"--{name}" in (info.default, *(info.param_decls or ())), name  # Annotated puts the first name into `default`
