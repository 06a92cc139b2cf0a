"""The distribution that contains this package: its name, version and requirements.

Its name differs from that of the package, because datasette-embeddings belongs to
another project on the package index.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import metadata

NAME = "datasette-semantic-search"


# A page names it in the address of each of its files
@cache
def version() -> str:
    """The installed version, such as ``0.3a0``."""
    return metadata.version(NAME)


def install_command(*libraries: str) -> str:
    """A pip command that installs *libraries* in versions that this release supports.

    It names the libraries rather than an extra, so that it works however this package
    was installed. An undeclared library is named without a version.
    """
    declared = [
        line.partition(";")[0].strip() for line in metadata.requires(NAME) or []
    ]
    bounds = {_normalized(re.split(r"[^\w.-]", each)[0]): each for each in declared}
    found = [bounds.get(_normalized(name), name) for name in libraries]
    return f"pip install {' '.join(map(shlex.quote, found))}"


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
