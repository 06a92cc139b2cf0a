"""What README.md and docs/building.md show is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from doctest import ELLIPSIS, DocTestParser, DocTestRunner
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
README = REPOSITORY / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")
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


def assert_same(shown: str, found: str) -> None:
    """Equal text, and numbers that differ by what another processor rounds."""
    shown = shown.replace('"took_ms": 0.0', '"took_ms": 0')
    found = re.sub(r'"took_ms": [\d.]+', '"took_ms": 0', found)
    assert NUMBER.sub("#", found) == NUMBER.sub("#", shown)
    numbers = [float(number) for number in NUMBER.findall(shown)]
    assert [float(number) for number in NUMBER.findall(found)] == pytest.approx(
        numbers, abs=0.002
    )


@pytest.mark.parametrize("name", ["README.md", "docs/building.md"])
def test_every_command_prints_what_stands_below_it(demo, tmp_path, name):
    shutil.copyfile(demo[0], tmp_path / "demo.db")
    commands = examples(REPOSITORY / name)
    assert len(commands) >= 8
    for command, output in commands:
        found = run(command, tmp_path)
        assert "Traceback" not in found
        assert ("Error: " in found) == ("Error: " in output)
        if SAME_LIBRARY:
            assert_same(output, found)


@pytest.mark.skipif(not SAME_LIBRARY, reason="the outputs are those of Python 3.11.7")
def test_the_python_example_prints_what_stands_below_it(demo, tmp_path, monkeypatch):
    shutil.copyfile(demo[0], tmp_path / "demo.db")
    monkeypatch.chdir(tmp_path)
    text = re.search(r"```pycon\n(.*?)```", README.read_text("utf-8"), re.DOTALL)[1]
    test = DocTestParser().get_doctest(text, {}, "README", "README.md", 0)
    runner = DocTestRunner(optionflags=ELLIPSIS)
    runner.run(test, clear_globs=False)
    test.globs["conn"].close()
    assert runner.failures == 0
