"""Runs the SQL of sql-functions.md, whose outputs cog writes from here.

cog -r docs/sql-functions.md
"""

from __future__ import annotations

import re
import sqlite3
from textwrap import dedent

from tabulate import tabulate

from datasette_embeddings import load_model
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sql.functions import FUNCTIONS, register

ARTICLES = [
    (1, "food", "Sourdough", "Flour, water and salt become bread with wild yeast."),
    (2, "sky", "Rings of Saturn", "With a small telescope you can see the rings."),
    (3, "home", "Mending a tyre", "Find the hole in the tube and patch it."),
    (4, "sky", "Saturn's rings", "A small telescope is enough to see the rings."),
    (5, "pets", "Kittens", "Young cats need food four times a day."),
    (6, "home", "Cat flaps", "How to cut a small door for a cat into a big one."),
]
FLOAT = re.compile(r"-?\d+\.\d{4,}")


def database() -> sqlite3.Connection:
    """The articles above, and a collection of that name over title and body."""
    conn = sqlite3.connect(":memory:")
    conn.execute(
        "create table articles (id integer primary key, topic text, title text, "
        "body text)"
    )
    conn.executemany("insert into articles values (?, ?, ?, ?)", ARTICLES)
    conn.commit()
    source = table_source(conn, "articles", content_columns=["title", "body"])
    ingest(conn, "articles", source, load_model(DEFAULT_MODEL))
    register(conn)
    return conn


def rounded(text: str) -> str:
    """*text* with three digits after the point: processors round the rest their way."""
    return FLOAT.sub(lambda number: f"{float(number[0]):.3f}", text)


def show_functions() -> None:
    """A table of the functions, then an example of each with its result."""
    rows = [(signatures(each.name), docs(each.name)) for each in _first_of_each()]
    print(tabulate(rows, headers=["function", "result"], tablefmt="github"))
    conn = database()
    for each in FUNCTIONS:
        call = f"{each.name}({', '.join(each.arguments)})"
        found = conn.execute(each.example).fetchone()[0]
        print(f"\n### {call}\n\n{each.doc}")
        if each.aliases:
            print(f"Also called {', '.join(f'`{name}`' for name in each.aliases)}.")
        print(f"\n```sql\n{each.example};\n```\n\n```text\n{rounded(str(found))}\n```")
    conn.close()


def _first_of_each():  # noqa: ANN202 - a list of functions
    return {each.name: each for each in FUNCTIONS}.values()


def signatures(name: str) -> str:
    return "<br>".join(
        f"`{name}({', '.join(each.arguments)})`"
        for each in FUNCTIONS
        if each.name == name
    )


def docs(name: str) -> str:
    return next(each.doc for each in FUNCTIONS if each.name == name)


def show(sql: str) -> None:
    """The query, and the rows that it gives on the articles."""
    conn = database()
    cursor = conn.execute(dedent(sql))
    headers = [column[0] for column in cursor.description]
    table = tabulate(cursor.fetchall(), headers=headers, tablefmt="github")
    print(f"```sql\n{dedent(sql).strip()};\n```\n\n{rounded(table)}")
    conn.close()
