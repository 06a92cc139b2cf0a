"""The house of docs/design.md: floors, sizes, light imports, thin hooks."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import datasette_embeddings
from datasette_embeddings import datasette_plugin, distribution, sqlite_utils_plugin

PACKAGE = Path(datasette_embeddings.__file__).parent
FLOORS = [
    {"distribution"},
    {"errors", "migrations"},
    {"vectors", "documents", "config", "databases", "images", "item_ids"},
    {"chunking"},
    {"sources", "formats", "models"},
    {"store"},
    {"index"},
    {"search", "similarities"},
    {"exports", "imports", "ingest", "sql", "serving"},
    {"web", "cli", "demo"},
    {"datasette_plugin", "sqlite_utils_plugin"},
    {"__init__"},
]
# Imported by the function that needs them: they take long, or may not be there
HEAVY = {
    "bs4",
    "chardet",
    "datasette",
    "faiss",
    "httpx2",
    "huggingface_hub",
    "jinja2",
    "llm",
    "markdown_it",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "open_clip",
    "PIL",
    "puremagic",
    "pyarrow",
    "sentence_transformers",
    "sentencex",
    "simsimd",
    "sqlite_utils",
    "tabulate",
    "tenacity",
    "threadpoolctl",
    "tokenizers",
    "timm",
    "torch",
    "torchvision",
    "tqdm",
    "transformers",
    "yaml",
}
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if not path.is_relative_to(PACKAGE / "templates")
)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(place for place, names in enumerate(FLOORS) if name in names)


def imported_rooms(tree: ast.AST) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "datasette_embeddings":
                names = parts[1:2] or [alias.name for alias in node.names]
                rooms.update(names)
    return rooms


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_imports_only_from_lower_floors_or_its_own_room(path):
    here = room(path)
    above = {
        name
        for name in imported_rooms(ast.parse(path.read_text("utf-8"))) - {here}
        if floor(name) > floor(here)
        or (floor(name) == floor(here) and name not in ALLOWED_NEIGHBOURS.get(here, ()))
    }
    assert above == set()


# Two rooms of one floor where the second leans on the first
ALLOWED_NEIGHBOURS = {"cli": {"demo"}}


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_heavy_libraries_are_imported_by_the_function_that_needs_them(path):
    tree = ast.parse(path.read_text("utf-8"))
    at_the_top = {
        name.partition(".")[0] for node in tree.body for name in imported_names(node)
    }
    assert at_the_top & HEAVY == set()


def test_every_library_that_is_imported_is_declared():
    imported = {
        name.partition(".")[0]
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in imported_names(node)
    } - sys.stdlib_module_names
    declared = {
        re.match(r"[\w.-]+", line)[0].lower().replace("-", "_")
        for line in metadata.requires(distribution.NAME)
        if "extra == 'test'" not in line
    }
    others = {CALLED.get(name, name).lower() for name in imported} - declared
    assert others == {"datasette_embeddings", *BROUGHT}


# Libraries whose distribution has another name, and those that a declared one brings
CALLED = {
    "bs4": "beautifulsoup4",
    "markdown_it": "markdown_it_py",
    "open_clip": "open_clip_torch",
    "PIL": "pillow",
    "yaml": "pyyaml",
}
BROUGHT = {"torch", "torchvision", "transformers"}


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_functions_import_nothing_but_heavy_libraries(path):
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        name.partition(".")[0]
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        for name in imported_names(node)
    }
    assert inside <= HEAVY


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_module_is_longer_than_300_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_function_is_longer_than_50_lines(path):
    too_long = [
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.body[0].lineno >= 50
    ]
    assert too_long == []


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_only_the_web_folder_knows_datasette(path):
    names = {
        name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in imported_names(node)
    }
    knows = any(name.partition(".")[0] == "datasette" for name in names)
    assert not knows or room(path) in KNOWS_DATASETTE


# The command line reads the environment variables of a configuration as Datasette does
KNOWS_DATASETTE = {"web", "datasette_plugin", "cli"}


def test_one_module_knows_that_there_are_two_versions_of_datasette():
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if "is_modern" in path.read_text("utf-8")
    }
    assert asking == {"web/compat.py"}


@pytest.mark.parametrize(
    "module",
    ["datasette_embeddings", "datasette_embeddings.sqlite_utils_plugin"],
)
def test_importing_the_package_imports_no_heavy_library(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


@pytest.mark.parametrize("plugin", [datasette_plugin, sqlite_utils_plugin])
def test_a_hook_has_at_most_five_lines(plugin):
    hooks = [
        value
        for value in vars(plugin).values()
        if inspect.isfunction(value) and value.__module__ == plugin.__name__
    ]
    lengths = {hook.__name__: statements(hook) for hook in hooks}
    assert {name: lines for name, lines in lengths.items() if lines > 5} == {}


def statements(function) -> int:
    body = ast.parse(inspect.getsource(function)).body[0].body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1


def test_every_hook_of_the_plugin_is_in_the_face_of_the_package():
    hooks = {
        value
        for value in vars(datasette_plugin).values()
        if hasattr(value, "datasette_impl")
    }
    assert set(datasette_embeddings.HOOKS) == hooks


def test_the_public_names_are_sorted_and_there():
    names = datasette_embeddings.__all__
    assert names == sorted(names)
    assert all(hasattr(datasette_embeddings, name) for name in names)
