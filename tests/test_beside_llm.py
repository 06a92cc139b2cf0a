"""Each pair of docs/cli.md: the real llm and our command do the same."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from llm.cli import cli as llm_command
from llm.plugins import pm

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.ingest.embed import SIMPLEST_IMAGE
from datasette_embeddings.models import llm_models, registry
from datasette_embeddings.vectors import decode
from tests import llm_plugin, programs
from tests.hub import MODEL_ID

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))
import cli_examples as examples

# What the table names, and what stands for it where no weights and no API are
MODELS = {
    "MODEL": MODEL_ID,
    "clip": "images-of-the-test",
    "3-small": "locked-of-the-test",
}
NOTES = [
    ("1", "Sourdough", "Bread rises overnight with a wild yeast starter."),
    ("2", "Night sky", "A small telescope shows the rings of Saturn."),
    ("11", "Moons", "The planet Jupiter has many moons."),
    ("3", "Kittens", "Young cats eat four times a day."),
]
# The lowest cosine of the weights in 8 bits to those in 32
LEAST_COSINE = 0.998


def write_files(folder):
    (folder / "hello.txt").write_text("Hello world, from a file")
    (folder / "question.txt").write_text("planets")
    (folder / "photo.png").write_bytes(SIMPLEST_IMAGE)
    rows = [dict(zip(("id", "title", "body"), note, strict=True)) for note in NOTES]
    (folder / "notes.nl").write_text("\n".join(map(json.dumps, rows)))
    lines = [",".join(row.values()) for row in rows]
    (folder / "notes.csv").write_text("\n".join(["id,title,body", *lines]))
    for name in ("texts", "photos"):
        (folder / name).mkdir()
    (folder / "texts" / "coffee.txt").write_bytes("Café crème".encode("latin-1"))
    (folder / "texts" / "tea.txt").write_text("Tea with lemon")
    (folder / "photos" / "one.png").write_bytes(SIMPLEST_IMAGE)
    with closing(sqlite3.connect(folder / "blog.db")) as conn:
        conn.execute("create table posts (id text, title text, body text)")
        conn.executemany("insert into posts values (?, ?, ?)", NOTES)
        conn.commit()


def run(command):
    """What *command*, of the table, writes to standard output."""
    command, _less, path = command.partition(" < ")
    _program, *arguments = shlex.split(command.replace("KEY", "a-key"))
    program = llm_command
    if arguments[0] == "embeddings":
        program, arguments = embeddings, arguments[1:]
    arguments = [MODELS.get(each, each) for each in arguments]
    piped = Path(path).read_bytes() if path else None
    done = CliRunner().invoke(program, arguments, input=piped)
    assert done.exit_code == 0, (command, done.output, done.exception)
    return done.stdout_bytes


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with what the commands read, and a collection `notes` of llm."""
    folder = tmp_path_factory.mktemp("beside")
    programs.write_llm_home(folder)
    write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        programs.go_home(patch, folder)
        run("llm embed-multi notes notes.csv -m MODEL --store")
        patch.setattr(registry, "_loaded", {})
        llm_models._by_name.cache_clear()
        pm.register(llm_plugin, "of-the-test")
        yield folder
        pm.unregister(name="of-the-test")
        llm_models._by_name.cache_clear()


@pytest.fixture
def folder(built, tmp_path, monkeypatch):
    """Its copy, where llm's database and `docs.db` have that collection."""
    home = tmp_path / "home"
    shutil.copytree(built, home, symlinks=True)
    programs.go_home(monkeypatch, home)
    shutil.copyfile(home / "llm" / "embeddings.db", home / "docs.db")
    return home


def ids(pairs):
    return [pair.ours.removeprefix(f"{examples.OURS} ") for pair in pairs]


def of_all(pairs):
    return pytest.mark.parametrize("pair", pairs, ids=ids(pairs))


def vector_in(output, pair):
    """The vector that a command printed."""
    form = (re.findall(r"-f (\w+)", pair.ours) or ["json"])[0]
    if form == "json":
        return np.array(json.loads(output), dtype=np.float32)
    if form == "blob":
        # llm ends the line, too
        return decode(output[: len(output) // 4 * 4])
    text = output.decode().strip()
    return decode(bytes.fromhex(text) if form == "hex" else base64.b64decode(text))


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def items(database):
    """The items of the collection `c`: content, hash, metadata and vector by id."""
    with closing(sqlite3.connect(database)) as conn:
        rows = conn.execute(
            """
            select embeddings.id, content, content_blob, content_hash, metadata,
              embedding
            from embeddings
            join collections on collections.id = collection_id
            where name = 'c'
            """
        )
        return {
            item_id: (tuple(facts), decode(vector))
            for item_id, *facts, vector in rows.fetchall()
        }


@pytest.mark.usefixtures("folder")
@of_all(examples.VECTORS)
def test_both_print_the_same_vector(pair):
    theirs, ours = (vector_in(run(each), pair) for each in (pair.llm, pair.ours))
    assert len(theirs) == len(ours)
    assert cosine(theirs, ours) > LEAST_COSINE


@of_all(examples.STORED)
def test_both_store_the_same_items(folder, pair):
    run(pair.llm.replace("docs.db", "llm/embeddings.db"))
    run(pair.ours)
    theirs, ours = items(folder / "llm" / "embeddings.db"), items(folder / "docs.db")
    assert theirs.keys() == ours.keys() != set()
    for item_id, (facts, vector) in theirs.items():
        own_facts, own_vector = ours[item_id]
        assert cosine(vector, own_vector) > LEAST_COSINE
        if "--prepend" in pair.llm:
            assert facts[0] == f"passage: {own_facts[0]}"
            continue
        if "--files" in pair.ours:
            # Files have more: their title, folder, kind and time
            *own_facts, metadata = own_facts
            assert json.loads(metadata)["title"] == item_id.partition(".")[0]
            own_facts = (*own_facts, None)
        assert facts == own_facts


@pytest.mark.usefixtures("folder")
@of_all(examples.FOUND)
def test_both_find_the_same_items(pair):
    theirs, ours = (run(each).decode() for each in (pair.llm, pair.ours))
    if "-p" in shlex.split(pair.llm):
        # "2 (0.51)" there, "0.510  2" here, with the content below
        assert re.match(r"(\w+) \(", theirs)[1] == ours.split()[1]
        assert theirs.splitlines()[2].strip() == ours.splitlines()[1].strip()
        return
    theirs, ours = (list(map(json.loads, e.splitlines())) for e in (theirs, ours))
    assert [each["id"] for each in theirs] == [each["id"] for each in ours] != []
    for found, own in zip(theirs, ours, strict=True):
        assert own["score"] == pytest.approx(found["score"], abs=0.02)
        assert (own["content"], own["metadata"]) == (
            found["content"],
            found["metadata"],
        )


def test_both_list_the_same_collections(folder):
    lists, as_json, delete, models = examples.LISTED
    for pair in (lists, as_json):
        theirs, ours = (run(each).decode() for each in (pair.llm, pair.ours))
        assert ("notes" in theirs, "notes" in ours) == (True, True)
    [theirs], [ours] = (json.loads(run(each)) for each in (as_json.llm, as_json.ours))
    assert (theirs["name"], theirs["model"], theirs["num_embeddings"]) == (
        ours["name"],
        ours["model"],
        ours["count"],
    )
    theirs, ours = (run(each).decode() for each in (models.llm, models.ours))
    for name in ("sentence-transformers/all-MiniLM-L6-v2", "letters-of-the-test"):
        assert (name in theirs, name in ours) == (True, True)
    run(delete.llm)
    run(delete.ours)
    for database in ("llm/embeddings.db", "docs.db"):
        with closing(sqlite3.connect(folder / database)) as conn:
            assert conn.execute("select * from embeddings").fetchall() == []


def test_the_default_model_and_database_are_those_of_the_environment(
    folder, monkeypatch
):
    model, database = examples.OTHERS
    for pair, value in ((model, None), (database, str(folder / "docs.db"))):
        name, _equals, given = re.search(
            r"(DATASETTE_\w+)(=)?(\S*)", pair.ours
        ).groups()
        monkeypatch.setenv(name, value or MODELS["clip"])
        assert value or given == "MODEL"
    run("datasette embeddings embed pictures one -i photo.png --binary")
    listed = json.loads(run("datasette embeddings collections --format json"))
    assert {each["name"]: each["model"] for each in listed}["pictures"] == (
        "images-of-the-test"
    )
