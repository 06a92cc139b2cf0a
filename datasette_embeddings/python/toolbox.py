"""The tools on a database file, for chat models of ``llm``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from inspect import Parameter, Signature
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import click

from datasette_embeddings.errors import EmbeddingsError, InvalidInputError, quoted
from datasette_embeddings.tools.definitions import TOOLS, Tool, described, input_schema

if TYPE_CHECKING:
    import llm

    from datasette_embeddings.python.database_tools import DatabaseTools

SPEC = """-T 'Embeddings("demo.db")'"""


class ToolboxError(EmbeddingsError, click.ClickException):
    """The tools cannot be offered; ``llm`` prints the reason as one line."""


def toolbox() -> type[Any]:
    """The class that ``llm`` makes from ``-T 'Embeddings("demo.db")'``."""
    import llm

    class Embeddings(llm.Toolbox):  # type: ignore[no-untyped-call]  # llm's hook
        """Search the collections of a SQLite database by meaning and words.

        collections: a name or a list of names, to offer only these. remote_models: true
        lets models that may cost money embed queries; otherwise words alone decide.
        """

        def __init__(
            self,
            database: str | None = None,
            collections: str | list[str] | None = None,
            remote_models: bool = False,
        ) -> None:
            try:
                path, names = _path(database), _names(collections)
                self._opened = _opened(path, names, remote_models)
                self._rows = self._opened.rows()
            except EmbeddingsError as error:
                raise ToolboxError(str(error)) from error
            # llm keeps them for a chat that goes on later, maybe in another folder
            vars(self)["_config"]["database"] = str(path)

        @classmethod
        def method_tools(cls) -> list[llm.Tool]:
            return [_tool(each, each.description) for each in TOOLS]

        def tools(self) -> Iterable[llm.Tool]:
            # If the file is not there any more, the call of a tool says so
            with suppress(EmbeddingsError):
                self._rows = self._opened.rows()
            for each in TOOLS:
                tool = _tool(each, described(each, self._rows), self)
                tool.plugin = getattr(self, "plugin", None)
                yield tool
            yield from self._extra_tools

        def _call(self, tool: Tool, given: dict[str, Any]) -> str:
            from datasette_embeddings.tools.results import as_text

            return as_text(self._opened.call(tool, given))

    return Embeddings


def _tool(tool: Tool, description: str, instance: object = None) -> llm.Tool:
    """*tool* as llm has it, of the class, or of the *instance* that is called."""
    import llm

    function = _function(tool)
    return llm.Tool(
        name=f"Embeddings_{tool.name}",
        description=description,
        input_schema=input_schema(tool, has_databases=False),
        implementation=function if instance is None else MethodType(function, instance),
    )


def _function(tool: Tool) -> Callable[..., str]:
    # What a model sends may have any names
    def call(self: Any, /, **given: Any) -> str:  # noqa: ANN401 - an Embeddings above
        text: str = self._call(tool, given)
        return text

    schema = input_schema(tool, has_databases=False)
    call.__name__ = tool.name
    # ``llm tools`` shows the arguments that there are
    call.__signature__ = Signature(  # type: ignore[attr-defined]  # as inspect reads it
        [
            Parameter("self", Parameter.POSITIONAL_OR_KEYWORD),
            *(
                Parameter(
                    name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=field.get("default", Parameter.empty),
                )
                for name, field in schema["properties"].items()
            ),
        ]
    )
    return call


def _path(database: object) -> Path:
    if not isinstance(database, str | Path) or not str(database):
        raise InvalidInputError(
            f"Expected the path of a database file, {SPEC}; found {quoted(database)}"
        )
    if "\0" in str(database):
        raise InvalidInputError(
            f"Expected the path of a file, found {quoted(database)}"
        )
    return Path(database).expanduser().absolute()


def _names(collections: object) -> list[str] | None:
    if collections is None:
        return None
    names = [collections] if isinstance(collections, str) else collections
    if not isinstance(names, list | tuple) or not names:
        names = [None]
    if not all(isinstance(each, str) for each in names):
        raise InvalidInputError(
            f"Expected the names of collections, found {quoted(collections)}"
        )
    return list(names)


def _opened(
    path: Path, names: list[str] | None, remote_models: object
) -> DatabaseTools:
    from datasette_embeddings.python.database_tools import DatabaseTools

    if not isinstance(remote_models, bool):
        raise InvalidInputError(
            f"Expected true or false for remote_models, found {quoted(remote_models)}"
        )
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InvalidInputError(f"Expected a database file at {path}, found {found}")
    return DatabaseTools(path, names, remote_models=remote_models)
