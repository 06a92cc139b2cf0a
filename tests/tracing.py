"""The functions of this package that some work enters.

Run it to see them, with how often each is called::

    python -m tests.tracing embed docs.db notes --table notes
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import datasette_embeddings

PACKAGE = Path(datasette_embeddings.__file__).parent


@dataclass
class Trace:
    """How often each function was called; nested ones count, comprehensions do not."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def modules(self) -> set[str]:
        """The modules whose functions were called, such as ``store/staging.py``."""
        return {module for module, _name in self.calls}

    def __str__(self) -> str:
        lines = [
            f"{module}: "
            + ", ".join(
                f"{name} x {count}"
                for (each, name), count in self.calls.items()
                if each == module
            )
            for module in sorted(self.modules)
        ]
        total = f"{len(self.calls)} functions in {len(self.modules)} modules"
        return "\n".join([*lines, total])


def import_everything() -> None:
    """Import all modules, so that what runs at import time is not traced."""
    for each in pkgutil.walk_packages([str(PACKAGE)], f"{PACKAGE.name}."):
        importlib.import_module(each.name)


@contextmanager
def traced() -> Iterator[Trace]:
    """Within, calls in this thread and in threads that it starts are counted."""
    trace = Trace()

    def count(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        is_ours = code.co_filename.startswith(f"{PACKAGE}/")
        # The body of a class has no fast locals, and comprehensions have such a name
        is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name[0] != "<"
        if event == "call" and is_ours and is_function:
            module = Path(code.co_filename).relative_to(PACKAGE).as_posix()
            name = getattr(code, "co_qualname", code.co_name)
            trace.calls[module, name] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # typeshed lacks None


if __name__ == "__main__":
    from datasette.cli import cli

    import_everything()
    with traced() as found:
        cli(["embeddings", *sys.argv[1:]], standalone_mode=False)
    print(found)
