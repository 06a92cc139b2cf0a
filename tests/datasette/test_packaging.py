"""What is installed serves its templates and static files, and brings its model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
WANTED = {
    "datasette_embeddings/templates/embeddings_search.html",
    "datasette_embeddings/templates/embeddings_collections.html",
    "datasette_embeddings/static/embeddings.css",
    "datasette_embeddings/models/bundled/all-MiniLM-L6-v2/onnx/model.onnx",
    "datasette_embeddings/models/bundled/all-MiniLM-L6-v2/LICENSE",
}


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
    assert {top.partition("-")[0] for top in tops} == {"datasette_embeddings"}


@pytest.mark.parametrize("origin", ["sdist", "tree"])
def test_a_wheel_serves_its_pages_and_style(built, articles_db, tmp_path, origin):
    if origin == "tree":
        run("build", "--no-isolation", "--wheel", "--outdir", tmp_path, REPOSITORY)
        built = tmp_path
    site = tmp_path / "site"
    wheel = next(built.glob("*.whl"))
    run("pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
    # Ahead of the editable install that runs this test
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def get(path):
        arguments = ("datasette", articles_db, "--get", path)
        return run(*arguments, env=environment, cwd=site)

    plugins = json.loads(get("/-/plugins.json"))
    ours = next(each for each in plugins if each["name"] == "datasette-embeddings")
    assert (ours["static"], ours["templates"]) == (True, True)
    assert "Kittens" in get("/articles/-/embeddings/articles?q=pets")
    assert "embeddings-box" in get(
        "/-/static-plugins/datasette-embeddings/embeddings.css"
    )
    code = "import datasette_embeddings as package; print(package.__file__)"
    command = [sys.executable, "-c", code]
    where = subprocess.run(
        command, env=environment, cwd=site, capture_output=True, text=True, check=True
    )
    assert where.stdout.startswith(str(site))
