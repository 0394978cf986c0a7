"""Help texts and options of the commands: plain usage lines, and options that several commands share."""

from __future__ import annotations

import functools
import inspect
import shutil
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
import typer
from typer.core import TyperCommand, TyperGroup

from acetasks.providers import specs

if TYPE_CHECKING:
    from collections.abc import Callable

#: Columns from which the boxes of a help text have room for the names of all options.
_BOX_WIDTH = 70
#: Brackets of typer around required arguments in the usage line.
_BRACES = str.maketrans("", "", "{}")


class PlainCommand(TyperCommand):
    """Command with a help that shows `PROVIDER`, not `{PROVIDER}`, and no type for arguments and flags."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # typer's own types are private
        """Write the help, without boxes on a narrow terminal."""
        columns = shutil.get_terminal_size().columns
        if columns < _BOX_WIDTH:
            self.rich_markup_mode, formatter.width = None, columns
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401  # typer's own context is private
        """Return the parts of the usage line."""
        return [piece.translate(_BRACES) for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401  # as above
        """Return the parameters."""
        return _hide_types(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The application, with the same help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # as above
        """Write the help, without boxes on a narrow terminal."""
        columns = shutil.get_terminal_size().columns
        if columns < _BOX_WIDTH:
            self.rich_markup_mode, formatter.width = None, columns
        super().format_help(ctx, formatter)

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401  # as above
        """Return the parameters."""
        return _hide_types(super().get_params(ctx))


def _hide_types(params: Any) -> Any:  # noqa: ANN401  # typer's own parameters are private
    """Show no types of arguments, flags and counts: their names say enough."""
    for param in params:
        if param.param_type_name == "argument" or getattr(param, "is_flag", False) or getattr(param, "count", False):
            setattr(param, "display_type_rich", _no_type)  # noqa: B010  # older versions of typer do not have it
    return params


def _no_type(**_: object) -> None:
    return None


def examples(*commands: str) -> str:
    """Return the epilog of a command's help: one example a line."""
    title = "Example:" if len(commands) == 1 else "Examples:"
    # A paragraph that begins with this character keeps its lines.
    return "\n".join(["\b", title, *(f"  {command}" for command in commands)])


def help_of(command: Callable[..., None]) -> str:
    """Return the docstring of a command with each paragraph on one line, which the terminal wraps."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(command) or "").split("\n\n"))


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is a Struct by the fields of it, which are options of their own.

    So that options which several commands share are declared once: a field is annotated as a parameter of typer.
    """
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    groups: dict[str, type[msgspec.Struct]] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in signature.parameters.items():
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            groups[name] = hint
            parameters.update(_parameters_of(hint))
        else:
            parameters[name] = parameter.replace(annotation=hint)

    @functools.wraps(command)
    def run(**values: object) -> None:
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in group.__struct_fields__})
        command(**values)

    run.__signature__ = signature.replace(  # type: ignore[attr-defined]  # functions have it if it is set
        parameters=[parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters.values()]
    )
    run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return run


def _parameters_of(group: type[msgspec.Struct]) -> dict[str, inspect.Parameter]:
    """Return the fields of a Struct as parameters."""
    hints = get_type_hints(group, include_extras=True)
    return {
        field.name: inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in msgspec.structs.fields(group)
    }


def complete_provider(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of a provider, as the first argument or before the colon of `PROVIDER:ID`."""
    is_first = not any(context.params.values())
    return [
        (spec.slug if is_first else f"{spec.slug}:", spec.submit_paths[0] if spec.submit_paths else "")
        for spec in specs()
        if spec.slug.startswith(incomplete)
    ]
