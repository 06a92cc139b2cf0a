"""The class of tools that ``llm`` makes of a database file.

llm asks for it at every prompt, so it imports what it uses when it is made or shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import llm


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
            from datasette_embeddings.errors import EmbeddingsError
            from datasette_embeddings.python.database_tools import opened
            from datasette_embeddings.python.llm_tools import ToolboxError

            try:
                self._database_tools = opened(database, collections, remote_models)
                self._rows = self._database_tools.rows()
            except EmbeddingsError as error:
                raise ToolboxError(str(error)) from error
            # llm keeps them for a chat that goes on later, maybe in another folder
            vars(self)["_config"]["database"] = str(self._database_tools.path)

        @classmethod
        def method_tools(cls) -> list[llm.Tool]:
            from datasette_embeddings.python.llm_tools import tools_of

            return tools_of(None)

        def tools(self) -> Iterable[llm.Tool]:
            from datasette_embeddings.errors import EmbeddingsError
            from datasette_embeddings.python.llm_tools import tools_of

            # If the file is not there any more, the call of a tool says so
            with suppress(EmbeddingsError):
                self._rows = self._database_tools.rows()
            for each in tools_of(self, self._rows):
                each.plugin = getattr(self, "plugin", None)
                yield each
            yield from self._extra_tools

    return Embeddings
