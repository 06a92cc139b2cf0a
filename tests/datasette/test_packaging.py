"""What is installed serves its templates and static files, and brings its model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

# What is packed is the same for both Datasettes
pytestmark = pytest.mark.long(datasette="0.65")
REPOSITORY = Path(__file__).parent.parent.parent
WANTED = {
    "datasette_embeddings/templates/embeddings_search.html",
    "datasette_embeddings/templates/embeddings_collections.html",
    "datasette_embeddings/static/embeddings.css",
    "datasette_embeddings/static/embeddings-map/tiles.js",
    "datasette_embeddings/static/vendor/d3-zoom.js",
    "datasette_embeddings/static/vendor/d3-zoom.LICENSE.txt",
    "datasette_embeddings/models/bundled/all-MiniLM-L6-v2/onnx/model.onnx",
    "datasette_embeddings/models/bundled/all-MiniLM-L6-v2/LICENSE",
}
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXTS = {".md", ".py", ".yml", ".html", ".js", ".sh"}
NAMES = r"datasette[-_](?:embeddings|semantic[-_]search)"
INSTALLS_BY_NAME = re.compile(
    rf"\b(?:install|add|require)\b[^\n]*(?<![\w./-]){NAMES}(?![\w/.-])|{NAMES}\[",
    re.IGNORECASE,
)


def run(*command, **options):
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        check=True,
        capture_output=True,
        text=True,
        **options,
    ).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with an sdist, and in it the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run("build", "--no-isolation", "--outdir", folder, REPOSITORY)
    return folder


def test_an_sdist_holds_real_files(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        files = {
            member.name.partition("/")[2]
            for member in archive.getmembers()
            if member.isfile()
        }
    assert files >= WANTED


def test_a_wheel_holds_real_files_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = set(archive.namelist())
    assert names >= WANTED
    tops = {name.partition("/")[0] for name in names}
    assert {top.partition("-")[0] for top in tops} == {
        "datasette_embeddings",
        "datasette_semantic_search",
    }


@pytest.fixture(scope="module")
def site(built, tmp_path_factory):
    """A folder into which the wheel is installed, without what it needs."""
    folder = tmp_path_factory.mktemp("site")
    wheel = next(built.glob("*.whl"))
    run("pip", "install", "--quiet", "--no-deps", "--target", folder, wheel)
    return folder


# Prints what a Datasette of its first argument answers for the others, which are paths
ASK = """
import asyncio, json, sys
from datasette.app import Datasette

async def ask(database, *paths):
    client = Datasette([database]).client
    return [(await client.get(path)).text for path in paths]

print(json.dumps(asyncio.run(ask(*sys.argv[1:]))))
"""


def answers(database, paths, folders):
    """What Datasette answers, with *folders* before the editable install."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [sys.executable, "-c", ASK, database, *paths],
        env=environment,
        cwd=folders[0],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_an_installed_wheel_serves_its_pages_and_style(site, articles_db):
    assert_served(articles_db, site, named="datasette-semantic-search")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = "import datasette_embeddings as package; print(package.__file__)"
    command = [sys.executable, "-c", code]
    where = subprocess.run(
        command, env=environment, cwd=site, capture_output=True, text=True, check=True
    )
    assert where.stdout.startswith(str(site))


def assert_served(database, *folders, named):
    style = f"/-/static-plugins/{named}/embeddings.css"
    paths = ["/-/plugins.json", "/articles/-/embeddings/articles?q=pets", style]
    plugins, page, css = answers(database, paths, folders)
    plugins = json.loads(plugins)
    [ours] = [each for each in plugins if re.fullmatch(NAMES, each["name"])]
    assert ours["name"] == named
    assert (ours["static"], ours["templates"]) == (True, True)
    assert "Kittens" in page
    assert re.findall(r'href="([^"]*embeddings\.css)', page) == [style]
    assert "embeddings-box" in css


def test_a_wheel_from_the_tree_is_the_one_from_the_sdist(built, tmp_path):
    run("build", "--no-isolation", "--wheel", "--outdir", tmp_path, REPOSITORY)
    held = [
        {each.filename: each.CRC for each in zipfile.ZipFile(wheel).infolist()}
        for folder in (built, tmp_path)
        for wheel in folder.glob("*.whl")
    ]
    assert held[0] == held[1]


@pytest.mark.parametrize("order", ["older first", "newer first"])
def test_beside_an_older_distribution_the_plugin_is_registered_once(
    site, articles_db, tmp_path, order
):
    older = tmp_path / "older" / "datasette_embeddings-0.2a0.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: datasette-embeddings\nVersion: 0.2a0\n"
    )
    (older / "entry_points.txt").write_text(
        "[datasette]\nembeddings = datasette_embeddings\n"
        "[sqlite_utils]\nembeddings = datasette_embeddings.sqlite_utils_plugin\n"
    )
    folders, name = [site, older.parent], "datasette-semantic-search"
    if order == "older first":
        folders, name = folders[::-1], "datasette-embeddings"
    assert_served(articles_db, *folders, named=name)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    run("sqlite_utils", "embeddings", "--help", env=environment)


def test_the_documents_install_the_wheel_that_is_built(built):
    wheel = next(built.glob("*.whl")).name
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"datasette_semantic_search-\S*?whl", path.read_text())
    }
    assert named == {wheel}


def test_the_documents_name_only_extras_that_there_are():
    extras = set(
        metadata.metadata("datasette-semantic-search").get_all("Provides-Extra")
    )
    named = {
        extra
        for path in DOCUMENTS
        for found in re.findall(r"install.*(?:\.|whl)\[([\w,-]+)\]", path.read_text())
        for extra in found.split(",")
    }
    assert {"images", "sentence-transformers", "llm", "export"} <= named <= extras


def test_nothing_tells_to_install_by_a_name_that_is_not_ours():
    """One is another project's, the other is not published yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [REPOSITORY / name for name in listed.stdout.splitlines()]
    told = {
        f"{path.relative_to(REPOSITORY)}: {line}"
        for path in paths
        if path.suffix in TEXTS or path.name in ("Makefile", "Dockerfile")
        if path.is_file() and path != Path(__file__)
        for line in path.read_text("utf-8").splitlines()
        if INSTALLS_BY_NAME.search(line)
    }
    assert told == set()


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("pip install datasette-embeddings", True),
        ("RUN pip install --quiet 'datasette-embeddings[llm]' llm", True),
        ("uv add datasette-semantic-search", True),
        ("datasette install datasette_embeddings", True),
        ("Install 'datasette-embeddings[images]'", True),
        ("pip install './dist/datasette_semantic_search-1.0-py3-none-any.whl'", False),
        ("pip install '.[llm]' llm-sentence-transformers", False),
        ("pip uninstall datasette-embeddings", False),
    ],
)
def test_what_counts_as_an_install_by_name(line, is_wrong):
    assert bool(INSTALLS_BY_NAME.search(line)) is is_wrong
