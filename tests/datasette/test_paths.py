"""How many functions of the package one search, and one `embed`, enter.

Lower these numbers when a path becomes shorter; never raise them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
SEARCH_FUNCTIONS, SEARCH_MODULES = 90, 24
BOTH_FUNCTIONS, BOTH_MODULES = 123, 32
EMBED_FUNCTIONS, EMBED_MODULES = 110, 26
# The words index, which every `embed` writes since it exists, is counted apart
WORDS = ("ingest/words", "store/indexed_text", "store/words")
WORDS_FUNCTIONS = 24


def path_of(name):
    command = [sys.executable, "-m", "tests.datasette.paths", name]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_search_by_meaning_goes_a_short_way():
    found = path_of("search")
    assert len(found["functions"]) <= SEARCH_FUNCTIONS, found["functions"]
    assert len(found["modules"]) <= SEARCH_MODULES, found["modules"]
    assert len(found["statements"]) <= 6, found["statements"]


def test_a_search_by_words_and_meaning_adds_a_few_statements():
    """One for each of its three words, and five more, one of which reads vectors."""
    found = path_of("search_by_both")
    assert len(found["functions"]) <= BOTH_FUNCTIONS, found["functions"]
    assert len(found["modules"]) <= BOTH_MODULES, found["modules"]
    assert len(found["statements"]) <= 6 + 3 + 5, found["statements"]


def test_an_embed_goes_a_short_way_and_does_nothing_twice():
    found = path_of("embed")
    functions = [each for each in found["functions"] if not each.startswith(WORDS)]
    assert len(functions) <= EMBED_FUNCTIONS, functions
    assert len(found["functions"]) - len(functions) <= WORDS_FUNCTIONS
    modules = [each for each in found["modules"] if not each.startswith(WORDS)]
    assert len(modules) <= EMBED_MODULES, modules
    assert found["hashed"] == [1] * 6
    assert found["tokenized"] == [1] * 6
