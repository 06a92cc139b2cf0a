"""Runs the SQL of sql-functions.md, whose outputs cog writes from here.

cog -r docs/sql-functions.md
"""

from __future__ import annotations

import re
import sqlite3
from operator import attrgetter
from textwrap import dedent

from tabulate import tabulate

from datasette_embeddings import load_model
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sql.functions import FUNCTIONS as REGISTERED
from datasette_embeddings.sql.functions import register

ARTICLES = [
    (1, "food", "Sourdough", "Flour, water and salt become bread with wild yeast."),
    (2, "sky", "Rings of Saturn", "With a small telescope you can see the rings."),
    (3, "home", "Mending a tyre", "Find the hole in the tube and patch it."),
    (4, "sky", "Saturn's rings", "A small telescope is enough to see the rings."),
    (5, "pets", "Kittens", "Young cats need food four times a day."),
    (6, "home", "Cat flaps", "How to cut a small door for a cat into a big one."),
]
FUNCTIONS = sorted(REGISTERED, key=attrgetter("signature"))
# What to select, for each function by its signature
EXAMPLES = {
    "embed(content)": "embed_cosine(embed('a cat'), embed('a kitten'))",
    "embed(model, content)": "length(embed('all-MiniLM-L6-v2', 'a cat'))",
    "embed_add(a, b)": "embed_decode(embed_add('[1, 2]', '[3, 4]'))",
    "embed_average(vector)": (
        "embed_decode(embed_average(value)) from json_each('[[1,0],[0,1]]')"
    ),
    "embed_axis(vector, low, high)": (
        "embed_axis(embed('a child'), 'old, aged', 'young, new')"
    ),
    "embed_axis(vector, low, high, model)": (
        "embed_axis(embed('Fog'), 'cold', 'hot, warm', 'all-MiniLM-L6-v2')"
    ),
    "embed_context(collection, question, tokens)": (
        "embed_context('articles', 'What do cats eat?', 60) ->> 'text'"
    ),
    "embed_cosine(a, b)": "embed_cosine('[1, 0]', '[1, 1]')",
    "embed_decode(vector)": "embed_decode(x'0000803f000000c0')",
    "embed_dimensions(vector)": "embed_dimensions('[1, 2, 3]')",
    "embed_dot(a, b)": "embed_dot('[1, 2]', '[3, 4]')",
    "embed_encode(json)": "hex(embed_encode('[1, -2]'))",
    "embed_l2(a, b)": "embed_l2('[0, 0]', '[3, 4]')",
    "embed_labels(collection, vector, labels)": (
        "embed_labels('articles', embed('a kitten'), '[\"food\", \"pets\"]') "
        "->> '$[0].label'"
    ),
    "embed_labels(vector, labels)": (
        """embed_labels(embed('a kitten'), '["a cat", "a dog"]')"""
    ),
    "embed_nearest(collection, vector, limit)": (
        "embed_nearest('articles', embed('a cat'), 2)"
    ),
    "embed_normalize(vector)": "embed_decode(embed_normalize('[0, 5]'))",
    "embed_query(model, text)": "length(embed_query('all-MiniLM-L6-v2', 'pets'))",
    "embed_query(text)": "length(embed_query('pets'))",
    "embed_scale(vector, number)": "embed_decode(embed_scale('[1, 2]', 0.5))",
    "embed_search(collection, text, limit)": "embed_search('articles', 'pets', 2)",
    "embed_search(collection, text, limit, mode)": (
        "embed_search('articles', 'a small door', 1, 'words')"
    ),
    "embed_similar(collection, id, limit)": "embed_similar('articles', 5, 2)",
    "embed_subtract(a, b)": "embed_decode(embed_subtract('[1, 2]', '[3, 5]'))",
}
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
        example = f"select {EXAMPLES[each.signature]}"
        found = conn.execute(example).fetchone()[0]
        print(f"\n### {each.signature}\n\n{each.doc}")
        if each.aliases:
            print(f"Also called {', '.join(f'`{name}`' for name in each.aliases)}.")
        print(f"\n```sql\n{example};\n```\n\n```text\n{rounded(str(found))}\n```")
    conn.close()


def _first_of_each():  # noqa: ANN202 - a list of functions
    return {each.name: each for each in FUNCTIONS}.values()


def signatures(name: str) -> str:
    return "<br>".join(f"`{each.signature}`" for each in FUNCTIONS if each.name == name)


def docs(name: str) -> str:
    """The first paragraph of what is said of a function."""
    doc = next(each.doc for each in FUNCTIONS if each.name == name)
    return " ".join(doc.partition("\n\n")[0].split())


def show(sql: str) -> None:
    """The query, and the rows that it gives on the articles."""
    conn = database()
    cursor = conn.execute(dedent(sql))
    headers = [column[0] for column in cursor.description]
    table = tabulate(cursor.fetchall(), headers=headers, tablefmt="github")
    print(f"```sql\n{dedent(sql).strip()};\n```\n\n{rounded(table)}")
    conn.close()
