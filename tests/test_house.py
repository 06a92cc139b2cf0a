"""The house of docs/design.md: order of folders, sizes, light imports, thin hooks."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

import datasette_embeddings
from datasette_embeddings import datasette_plugin, distribution, sqlite_utils_plugin

PACKAGE = Path(datasette_embeddings.__file__).parent
# The way of the data.  A module imports from its own folder and from earlier lines
ORDER = [
    {"distribution", "memory"},
    {"errors"},
    {"validation"},
    {"config", "databases", "documents", "images"},
    {"hooks", "migrations", "vectors"},
    {"sources"},
    {"chunking"},
    {"models"},
    {"store"},
    {"index"},
    {"search", "similarities"},
    {"context"},
    {"analysis"},
    {"clusters", "maps"},
    {"ingest"},
    {"serving"},
    {"tools"},
    {"sql"},
    {"python"},
    {"cli", "web"},
    {"datasette_plugin", "llm_plugin", "sqlite_utils_plugin"},
    {"__init__"},
]
# A command reads the configuration file as Datasette does, and hooks of this package
# are called through Datasette's plugin manager
KNOW_DATASETTE = {"cli", "datasette_plugin", "hooks", "web"}
# Any program that loads plugins imports these, so their functions import the rest; llm
# asks for the toolbox at every prompt
LIGHT = {"datasette_plugin.py", "llm_plugin.py", "sqlite_utils_plugin.py"}
LIGHT |= {"python/toolbox.py"}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 50
# Imported by the function that needs them: they take long, or may not be there.  Not
# numpy, which Datasette and sqlite-utils import themselves where it is installed
HEAVY = {
    "bs4",
    "datasette",
    "datasette_agent",
    "faiss",
    "filelock",
    "httpx2",
    "huggingface_hub",
    "jinja2",
    "llm",
    "markdown_it",
    "markitdown",
    "mcp",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openai",
    "open_clip",
    "pandas",
    "pathspec",
    "PIL",
    "sklearn",
    "pyarrow",
    "pydantic",
    "pydantic_core",
    "rapidfuzz",
    "sentence_transformers",
    "sentencex",
    "simsimd",
    "sqlite_utils",
    "tabulate",
    "threadpoolctl",
    "tokenizers",
    "timm",
    "torch",
    "torchvision",
    "tqdm",
    "transformers",
    "umap",
    "watchfiles",
    "yaml",
}
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.is_relative_to(PACKAGE / "templates")
}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def folder(name: str) -> str:
    """The folder of a module, or the module itself where it is in none."""
    return name.partition("/")[0].removesuffix(".py")


def place(name: str) -> int:
    places = [number for number, names in enumerate(ORDER) if name in names]
    assert places, f"Where does {name} stand? Add it to ORDER"
    return places[0]


def dotted(name: str) -> str:
    """The name by which a module is imported."""
    parts = ("datasette_embeddings", *name.removesuffix(".py").split("/"))
    return ".".join(parts).removesuffix(".__init__")


def imports(tree: ast.AST, *, only_at_start: bool = False) -> set[str]:
    """The modules that *tree* imports, for its types too unless *only_at_start*."""
    found, nodes = set(), [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            own = names & OWN
            found.update(own or {node.module})
        is_later = isinstance(node, FUNCTION) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        if not (only_at_start and is_later):
            nodes.extend(ast.iter_child_nodes(node))
    return found


OWN = {dotted(name) for name in MODULES}


def libraries(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_a_module_imports_only_from_its_folder_and_those_before_it():
    wrong = [
        f"{name} imports {module}"
        for name, tree in MODULES.items()
        for module in sorted(imports(tree) & OWN)
        if (room := module.split(".")[1]) != folder(name)
        if place(room) >= place(folder(name))
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others():
    imported = {dotted(name): imports(tree) & OWN for name, tree in MODULES.items()}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_only_the_web_knows_datasette():
    knowing = {
        folder(name)
        for name, tree in MODULES.items()
        if "datasette" in libraries(imports(tree))
    }
    assert knowing <= KNOW_DATASETTE


def test_heavy_libraries_are_imported_by_the_function_that_needs_them():
    wrong = {
        name: sorted(found)
        for name, tree in MODULES.items()
        # Only a running Datasette imports the web
        if (found := libraries(imports(tree, only_at_start=True)) & HEAVY)
        and (folder(name), found) != ("web", {"datasette"})
    }
    assert wrong == {}


def test_functions_import_nothing_but_heavy_libraries():
    wrong = {
        name: sorted(found)
        for name, tree in MODULES.items()
        for function in ast.walk(tree)
        if isinstance(function, FUNCTION) and name not in LIGHT
        if (found := libraries(imports(function)) - HEAVY)
    }
    assert wrong == {}


def test_no_module_is_too_long():
    lengths = {
        name: len((PACKAGE / name).read_text("utf-8").splitlines()) for name in MODULES
    }
    assert {k: lines for k, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long():
    too_long = {
        f"{name}:{node.name}": lines
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTION)
        if (lines := node.end_lineno - node.body[0].lineno + 1)
        > MOST_LINES_OF_A_FUNCTION
    }
    assert too_long == {}


def test_no_module_only_hands_names_on():
    """But the public one, which is what a user imports."""
    wrong = [
        name
        for name, tree in MODULES.items()
        if name != "__init__.py"
        if imports(tree) and not any(is_content(node) for node in tree.body)
    ]
    assert wrong == []


def is_content(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.If):
        return False
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return not is_docstring and not ast.unparse(node).startswith("__all__")


def test_every_library_that_is_imported_is_declared():
    imported = set().union(*(libraries(imports(tree)) for tree in MODULES.values()))
    declared = {
        re.match(r"[\w.-]+", line)[0].lower().replace("-", "_")
        for line in metadata.requires(distribution.NAME)
        if "extra == 'test'" not in line
    }
    imported = {CALLED.get(name, name).lower() for name in imported}
    others = imported - sys.stdlib_module_names - declared
    assert others == {"datasette_embeddings", *BROUGHT, *HOSTS}


# Libraries whose distribution has another name, and those that a declared one brings
CALLED = {
    "bs4": "beautifulsoup4",
    "markdown_it": "markdown_it_py",
    "open_clip": "open_clip_torch",
    "tomllib": "tomli",
    "umap": "umap_learn",
    "PIL": "pillow",
    "sklearn": "scikit_learn",
    "yaml": "pyyaml",
}
BROUGHT = {"httpx2", "pydantic_core", "torch", "torchvision", "transformers"}
BROUGHT |= {"typing_extensions"}
# What calls our hook is there, and what it brings
HOSTS = {"datasette_agent", "mcp"}


@pytest.mark.parametrize(
    "module", ["datasette_embeddings", "datasette_embeddings.sqlite_utils_plugin"]
)
def test_importing_the_package_imports_no_heavy_library(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import datasette_embeddings", {"", "datasette_plugin"}),
        (
            "import datasette.cli",
            {"", "datasette_plugin", "errors", "distribution"}
            | {"cli", "cli.commands"},
        ),
    ],
    ids=["package", "datasette"],
)
def test_a_program_that_does_not_use_the_plugin_imports_little_of_it(code, expected):
    code = f"import sys; {code}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    own = [name for name in loaded if name.partition(".")[0] == "datasette_embeddings"]
    assert {name.partition(".")[2] for name in own} == expected


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


def test_every_hook_of_the_plugin_is_in_the_package():
    hooks = {
        name: value
        for name, value in vars(datasette_plugin).items()
        if hasattr(value, "datasette_impl")
    }
    assert hooks
    assert hooks.items() <= vars(datasette_embeddings).items()


def test_the_public_names_are_sorted_and_there():
    names = datasette_embeddings.__all__
    assert names == sorted(names)
    assert all(hasattr(datasette_embeddings, name) for name in names)
