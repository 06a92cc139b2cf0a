"""Models in folders: the folder that a name means, for a given database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from datasette_embeddings.config.models import ModelConfig
from datasette_embeddings.config.settings import DEFAULT_MODEL
from datasette_embeddings.models.base import hub_name


def is_path(name: str) -> bool:
    """Whether *name* can only be a path."""
    return name.startswith((".", "~")) or os.path.isabs(name)


def absolute(name: str) -> str:
    """The absolute path of the folder called *name*, or *name* if there is none.

    If the folder itself is a link, it is not resolved.
    """
    path = os.path.expanduser(name)
    if name == DEFAULT_MODEL or not os.path.isdir(path):
        return name
    parent, last = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(parent), last)


def stored_name(name: str, home: Path | None) -> str:
    """The id that a collection stores for the model *name*, an absolute path or an id.

    A path is stored relative to *home*, the folder of the database file.  It stays
    absolute for a database in memory, and if both share only the root folder.
    """
    if home is None or not os.path.isabs(name):
        return name
    try:
        if os.path.commonpath([name, home]) == os.path.abspath(os.sep):
            return name
        relative = Path(os.path.relpath(name, home)).as_posix()
    except ValueError:
        # On another drive
        return name
    return relative if relative.startswith(".") else f"./{relative}"


def folder_of_collection(model_id: str, home: Path | None) -> Path | None:
    """The folder that *model_id* names in a database whose file lies in *home*.

    Release 0.2a0 stored a path as typed, relative to the working directory.
    """
    name = hub_name(model_id)
    found = absolute(name)
    if home is not None and is_path(name):
        in_home = absolute(str(home / Path(name).expanduser()))
        found = in_home if os.path.isdir(in_home) else found
    return Path(found).resolve() if os.path.isabs(found) else None


def located(
    models: Mapping[str, ModelConfig], model_id: str, home: Path | None
) -> Mapping[str, ModelConfig]:
    """*models* with the folder that *model_id* names in a database in *home*, if any.

    The settings of that folder apply under any name.
    """
    if model_id == DEFAULT_MODEL:
        return models
    folder = folder_of_collection(model_id, home)
    if folder is None:
        return models
    settings = next(
        (
            each
            for name, each in models.items()
            if is_same_folder(each.path or name, folder)
        ),
        ModelConfig(),
    )
    return {**models, model_id: replace(settings, path=str(folder))}


def is_same_folder(name: str, folder: Path) -> bool:
    """Whether *name*, relative to the working directory, names *folder*."""
    path = os.path.expanduser(name)
    try:
        return os.path.samefile(path, folder)
    except (OSError, ValueError):
        return is_path(name) and os.path.realpath(path) == str(folder)


def is_below(folder: Path, home: Path) -> bool:
    """Whether *folder* lies in *home*, at any depth, after links are resolved."""
    for parent in folder.resolve().parents:
        try:
            if os.path.samefile(parent, home):
                return True
        except OSError:
            continue
    return False
