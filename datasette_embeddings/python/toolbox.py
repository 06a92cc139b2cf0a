"""The tools on a database file, for chat models of ``llm``."""

from __future__ import annotations

from typing import Any


def toolbox() -> type[Any]:
    """The class that ``llm`` makes from ``-T 'Embeddings("demo.db")'``."""
    import llm

    class Embeddings(llm.Toolbox):
        """Search the collections of a database by meaning and words."""

    return Embeddings
