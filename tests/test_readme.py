"""What the README and the documents show is what happens."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from doctest import ELLIPSIS, DocTestParser, DocTestRunner
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasette.cli import cli as datasette

from tests.datasette.conftest import served

REPOSITORY = Path(__file__).parent.parent
SEARCHING = (REPOSITORY / "docs" / "searching.md").read_text("utf-8")
ANSWERS = (REPOSITORY / "docs" / "answers.md").read_text("utf-8")
SERVED = "http://127.0.0.1:8001"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")
# How many items the demo has, which is what a sample of it has less of
COUNT = re.compile(r"(?<=truncated\":) \d+| *(?<![.\w])\d[\d,]{2,}(?![.\w])")
SYNCED = re.compile(r"synced \d{4}-[\d:T+-]+")
# Other Pythons document other functions: there, only that the commands work is checked
SAME_LIBRARY = sys.version_info[:3] == (3, 11, 7)


def examples(document: Path) -> list[tuple[str, str]]:
    """Every command of *document* with the output that stands below it."""
    found = []
    for block in BLOCK.findall(document.read_text("utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _newline, output = part.partition("\n")
            found.append((command, output))
    return found


def run(command: str, folder: Path) -> str:
    """What *command* prints.

    Datasette's run in this process, unless there is a pipe.  sqlite-utils is given no
    SQL functions in a process where a server has started.
    """
    program, *arguments = shlex.split(command)
    if program == "datasette" and "|" not in arguments:
        done = CliRunner().invoke(datasette, arguments)
        return done.stdout + done.stderr
    programs = Path(sys.executable).parent
    result = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr


def assert_same(shown: str, found: str, *, is_sample: bool) -> None:
    """Equal text, and numbers that differ by what another processor rounds."""
    shown = shown.replace('"took_ms": 0.0', '"took_ms": 0')
    found = re.sub(r'"took_ms": [\d.]+', '"took_ms": 0', found)
    shown, found = SYNCED.sub("synced", shown), SYNCED.sub("synced", found)
    if is_sample:
        shown, found = COUNT.sub("#", shown), COUNT.sub("#", found)
    assert NUMBER.sub("#", found) == NUMBER.sub("#", shown)
    numbers = [float(number) for number in NUMBER.findall(shown)]
    # A score also depends on the average of the collection and on how rare words are
    tolerance = 0.02 if is_sample else 0.002
    assert [float(number) for number in NUMBER.findall(found)] == pytest.approx(
        numbers, abs=tolerance
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("README.md", 8),
        ("docs/building.md", 8),
        ("docs/searching.md", 3),
        ("docs/cli.md", 3),
        ("docs/tools.md", 1),
    ],
)
def test_every_command_prints_what_stands_below_it(
    demo, tmp_path, monkeypatch, name, count
):
    shutil.copyfile(demo.path, tmp_path / "demo.db")
    monkeypatch.chdir(tmp_path)
    commands = examples(REPOSITORY / name)
    assert len(commands) >= count
    for command, output in commands:
        found = run(command, tmp_path)
        assert "Traceback" not in found
        assert ("Error: " in found) == ("Error: " in output)
        if SAME_LIBRARY:
            assert_same(output, found, is_sample=demo.is_sample)


@pytest.fixture(scope="module")
def served_demo(demo):
    """What `make serve` serves, at another port."""
    with served(demo.path) as url:
        yield url


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize(
    ("document", "count"), [(SEARCHING, 4), (ANSWERS, 2)], ids=["searching", "answers"]
)
def test_every_request_of_the_documents_is_answered(served_demo, document, count):
    blocks = re.findall(r"^```sh\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    requests = [
        each
        for block in blocks
        for each in re.split(r"^(?=curl )", block, flags=re.MULTILINE)
        if each.startswith("curl ") and " | " not in each
    ]
    assert len(requests) >= count
    for request in requests:
        command = request.replace(SERVED, served_demo).replace("curl", "curl -sS", 1)
        result = subprocess.run(
            command, shell=True, capture_output=True, text=True, check=True
        )
        answer = json.loads(result.stdout)
        assert answer["ok"] is ("_size=0" not in request), result.stdout


def test_the_client_of_openai_is_answered_as_the_document_says(served_demo):
    code = re.search(r"```python\n(.*?)```", SEARCHING, re.DOTALL)[1]
    result = subprocess.run(
        [sys.executable, "-c", code.replace(SERVED, served_demo)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout, result.stderr) == (
        "2 384\n['sentence-transformers/all-MiniLM-L6-v2']\n",
        "",
    )


@pytest.mark.skipif(not SAME_LIBRARY, reason="the outputs are those of Python 3.11.7")
@pytest.mark.parametrize(("name", "count"), [("README.md", 1), ("docs/python.md", 13)])
def test_python_prints_what_stands_below_it(demo, tmp_path, monkeypatch, name, count):
    shutil.copyfile(demo.path, tmp_path / "demo.db")
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / name).read_text("utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == count
    # One program, whose variables go from block to block
    test = DocTestParser().get_doctest("\n".join(blocks), {}, name, name, 0)
    runner = DocTestRunner(optionflags=ELLIPSIS)
    runner.run(test, clear_globs=False)
    test.globs["db"].close()
    assert runner.failures == 0
