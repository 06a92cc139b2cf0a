"""Writes the help of every command, and the table beside llm, into cli.md.

cog -r docs/cli.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
from click.testing import CliRunner

from datasette_embeddings.cli.commands import SECTIONS, embeddings

OURS = "datasette embeddings"


@dataclass(frozen=True)
class Pair:
    """A command of llm, and ours for the same."""

    llm: str
    ours: str
    #: What differs
    note: str = ""


#: They print a vector
VECTORS = (
    Pair('llm embed -m MODEL -c "Hello world"', f'{OURS} embed -c "Hello world"'),
    Pair(
        "llm embed -m MODEL -i hello.txt -f hex",
        f"{OURS} embed -m MODEL -i hello.txt -f hex",
    ),
    Pair(
        "llm embed -m MODEL -i - -f base64 < hello.txt",
        f"{OURS} embed -i - -f base64 < hello.txt",
    ),
    Pair(
        'llm embed -m MODEL -c "Hello world" -f blob',
        f'{OURS} embed -c "Hello world" -f blob',
        "No end of line after the bytes.",
    ),
    Pair(
        "llm embed -m clip -i photo.png --binary -f hex",
        f"{OURS} embed -m clip -i photo.png --binary -f hex",
    ),
    Pair(
        'llm embed -m 3-small --key KEY -c "Hello world"',
        f'{OURS} embed -m 3-small --key KEY -c "Hello world"',
    ),
)
#: They store items in the collection `c`
STORED = (
    Pair(
        'llm embed c hello -m MODEL -c "Hello world" --store',
        f'{OURS} embed docs.db c hello -c "Hello world"',
        "Texts are stored unless `--no-store` is given.",
    ),
    Pair(
        'llm embed c hello -m MODEL -c "Hello world"',
        f'{OURS} embed docs.db c hello -c "Hello world" --no-store',
        "Without their words, too, which are indexed with the text.",
    ),
    Pair(
        "llm embed c hello -m MODEL -i hello.txt --store "
        """--metadata '{"lang": "en"}'""",
        f"{OURS} embed docs.db c hello -i hello.txt " """--metadata '{"lang": "en"}'""",
    ),
    Pair(
        'llm embed c hello -m MODEL -c "Hello world" --store -d docs.db',
        f'{OURS} embed c hello -c "Hello world" -d docs.db',
        "`DATASETTE_EMBEDDINGS_DB` names a database for all commands.",
    ),
    Pair(
        "llm embed-multi c notes.csv -m MODEL --store",
        f"{OURS} embed docs.db c notes.csv",
        "`embed-multi` means `embed`.",
    ),
    Pair(
        "llm embed-multi c - --format nl -m MODEL --store < notes.nl",
        f"{OURS} embed docs.db c - --input-format nl < notes.nl",
        "`--format` is that of the output.",
    ),
    Pair(
        "llm embed-multi c notes.csv -m MODEL --store --prefix notes/ --batch-size 2",
        f"{OURS} embed docs.db c notes.csv --prefix notes/ --batch-size 2",
    ),
    Pair(
        'llm embed-multi c --sql "select id, title, body from blog.posts" '
        "--attach blog blog.db -m MODEL --store",
        f'{OURS} embed docs.db c --sql "select id, title, body from blog.posts" '
        "--attach blog blog.db",
        "`--table posts` embeds a table of the database itself.",
    ),
    Pair(
        "llm embed-multi c --files texts '*.txt' --encoding latin-1 -m MODEL --store",
        f"{OURS} embed docs.db c --files texts '*.txt' --encoding latin-1",
        "Files get metadata. `embed docs.db c texts` takes the whole folder.",
    ),
    Pair(
        "llm embed-multi c --files photos '*.png' --binary -m clip --store",
        f"{OURS} embed docs.db c --files photos '*.png' --images -m clip",
    ),
    Pair(
        'llm embed-multi c notes.csv -m MODEL --store --prepend "passage: "',
        f'{OURS} embed docs.db c notes.csv --prepend "passage: "',
        "Stored without it, and remembered by the collection.",
    ),
)
#: They find items of the collection `notes`
FOUND = (
    Pair(
        "llm similar notes 2",
        f"{OURS} similar docs.db notes 2 --format nl",
        "Without `--format nl` it prints for people, on every output.",
    ),
    Pair(
        'llm similar notes -c "planets" -n 2',
        f'{OURS} similar docs.db notes -c "planets" -n 2 --format nl',
        "`search` goes by words as well.",
    ),
    Pair(
        "llm similar notes -i question.txt",
        f"{OURS} similar docs.db notes -i question.txt --format nl",
    ),
    Pair(
        'llm similar notes -c "planets" --prefix 1 --number 2',
        f'{OURS} similar docs.db notes -c "planets" --prefix 1 --number 2 --format nl',
    ),
    Pair("llm similar notes 2 -n 1 -p", f"{OURS} similar docs.db notes 2 -n 1 -p"),
)
#: They list
LISTED = (
    Pair("llm collections", f"{OURS} collections docs.db"),
    Pair(
        "llm collections list --json", f"{OURS} collections list docs.db --format json"
    ),
    Pair(
        "llm collections delete notes",
        f"{OURS} collections delete docs.db notes --yes",
        "Without `--yes` it asks.",
    ),
    Pair("llm embed-models", f"{OURS} models", "`embed-models` means `models`."),
)
#: They have no single command on one side
OTHERS = (
    Pair(
        "llm embed-models default MODEL",
        "export DATASETTE_EMBEDDINGS_MODEL=MODEL",
        "Or `default_model` in the settings.",
    ),
    Pair(
        "llm collections path",
        "echo $DATASETTE_EMBEDDINGS_DB",
        "There is no default database.",
    ),
)


def show_pairs() -> None:
    """The table of all pairs."""
    print("| `llm` | here | what differs |\n|---|---|---|")
    for pair in (*VECTORS, *STORED, *FOUND, *LISTED, *OTHERS):
        print(f"| `{pair.llm}` | `{pair.ours}` | {pair.note} |")


def commands(name: str) -> Iterator[list[str]]:
    """The command called *name* and those in it, as they are typed."""
    yield [name]
    context = click.Context(embeddings)
    command = embeddings.get_command(context, name)
    if isinstance(command, click.Group):
        yield from ([name, each] for each in command.list_commands(context))


def show_help(heading: str) -> None:
    """The help of each command below *heading* in that of all commands."""
    for name in SECTIONS[heading]:
        for path in commands(name):
            print(f"\n### {' '.join(path)}\n\n```text\n{help_of(path)}```")


def help_of(path: list[str]) -> str:
    """What ``--help`` prints of the command at *path*, 80 characters wide."""
    done = CliRunner().invoke(
        embeddings, [*path, "--help"], prog_name=OURS, terminal_width=80
    )
    return done.stdout
