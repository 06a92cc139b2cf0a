"""What many documents share does not relate them."""

from __future__ import annotations

import json
import random
import sqlite3

import pytest

from datasette_embeddings.config import CollectionConfig, SimilaritySettings
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import similar_items
from datasette_embeddings.similarities.refreshing import count_stale, refresh
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.chunks import boilerplate
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection

# Words of 26 topics; the first is the title
TOPICS = [
    line.split()
    for line in """
    sourdough yeast flour dough crust oven knead loaf baker rye starter crumb
    saturn rings telescope planet orbit moons astronomer eclipse comet galaxy lens sky
    bicycle tyre pedal chain brake saddle puncture spoke gear cyclist wheel pump
    tax income deduction invoice freelancer revenue auditor receipt allowance refund
    kitten whiskers purring litter paws feline claws nap mouse veterinary fur tail
    volcano lava magma eruption crater ash basalt geologist tremor vent pumice caldera
    chess bishop knight rook checkmate pawn gambit endgame castling queen opponent
    violin bow concerto orchestra rosin melody strings sonata luthier tuning soloist
    tomato seedling compost greenhouse trellis harvest blight watering gardener mulch
    glacier ice moraine crevasse meltwater fjord snowfall arctic iceberg valley frost
    railway locomotive platform timetable carriage signal track station conductor
    vaccine antibody immunity dose virus syringe nurse infection booster clinic
    pottery clay kiln glaze wheel ceramic bowl potter slip firing porcelain vase
    football goalkeeper penalty striker referee offside stadium midfielder league
    honey hive beekeeper nectar queen swarm pollen wax drone comb smoker apiary
    database index query transaction table rollback schema sql backup join replica
    submarine periscope torpedo sonar hull ballast dive crew depth navy hatch
    wine grape vineyard barrel tannin cellar cork vintage sommelier fermentation oak
    origami paper fold crane crease square valley pleat model diagram tissue corner
    desert camel dune oasis sandstorm cactus nomad caravan heat mirage scorpion
    camera aperture shutter exposure tripod darkroom negative portrait flash film
    election ballot candidate voter parliament campaign polling coalition constituency
    knitting wool needles purl sweater stitch yarn pattern cardigan scarf gauge skein
    whale blubber krill migration ocean calf breach baleen pod plankton fluke spout
    castle moat drawbridge knight siege tower rampart dungeon battlement keep armour
    coffee espresso roast bean barista grinder crema filter arabica milk brewing
    """.strip().splitlines()
]
SENTENCES = (
    "The {} and the {} need a {} with {}.",
    "A {} without {} is only a {} for the {}.",
    "When {} meets {}, every {} has its {}.",
    "First comes the {}, then {}, {} and {}.",
)
FRONT_MATTER = "---\ntitle: {}\nlayout: post\nauthor: The editors\n---\n\n"
FOOTER = (
    "This page is part of our public notebook; write to the editors, read the licence, "
    "or follow the project elsewhere today."
)
# How the footer follows the last paragraph
PLACES = {
    "a paragraph": "\n\n",
    "after a rule": "\n\n---\n\n",
    "under a heading": "\n\n## About\n\n",
    "in the last paragraph": " ",
}
# A paragraph that is too long for a chunk is cut at words, even within the footer
OWN_PARAGRAPH = ("a paragraph", "after a rule", "under a heading")
UNRELATED = 0.6


def paragraphs(words):
    """At least 80 words on a topic."""
    chance = random.Random(words[0])
    sentences, count = [], 0
    while count < 80:
        sentence = chance.choice(SENTENCES).format(*chance.sample(words, 4))
        sentences.append(sentence[0].upper() + sentence[1:])
        count += len(sentence.split())
    return "\n\n".join(
        " ".join(sentences[start : start + 4]) for start in range(0, len(sentences), 4)
    )


def documents(chunking, *short):
    """*chunking* with each place; in every run the *short* ones."""
    is_cut = "chunk_size" in chunking
    for place in OWN_PARAGRAPH if is_cut else PLACES:
        marks = () if place in short else pytest.mark.long
        yield pytest.param(place, chunking, marks=marks)


@pytest.mark.parametrize(
    ("place", "chunking"),
    [
        *documents({"chunk": "markdown"}, "a paragraph", "in the last paragraph"),
        *documents({"chunk": "markdown", "chunk_size": 60}, "after a rule"),
        *documents({"chunk": "paragraphs"}, "under a heading"),
        *documents({"chunk": "paragraphs", "chunk_size": 60}, "a paragraph"),
    ],
    ids=str,
)
def test_front_matter_and_a_footer_relate_no_documents(
    tmp_path, model, place, chunking
):
    for words in TOPICS:
        title = words[0].title()
        page = f"# {title}\n\n{paragraphs(words)}{PLACES[place]}{FOOTER}\n"
        (tmp_path / f"{words[0]}.md").write_text(FRONT_MATTER.format(title) + page)
    conn = sqlite3.connect(":memory:")
    config = CollectionConfig(files=((str(tmp_path), "*.md"),), **chunking)
    source = source_from_config(conn, config)
    options = IngestOptions(similarities=SimilaritySettings(len(TOPICS)))
    assert ingest(conn, "pages", source, model, options=options).new == 26
    rows = conn.execute("select id, score from similarities").fetchall()
    assert {row[0] for row in rows} == {f"{words[0]}.md" for words in TOPICS}
    assert max(row[1] for row in rows) <= UNRELATED
    found = similar_items(collection(conn, "pages"), "honey.md")
    assert max(match.score for match in found) <= UNRELATED
    conn.close()


NOTICE = "All of this was written for you by the very same people."
CATS = "Young cats sleep most of the day and hunt at night."
TAXES = "Section twelve of the law on taxes names all exceptions."


@pytest.fixture
def conn():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table docs (id text primary key, body text)")
    yield connection
    connection.close()


def sync(conn, model, **documents):
    conn.executemany("replace into docs values (?, ?)", documents.items())
    conn.commit()
    config = CollectionConfig(table="docs", chunk="paragraphs", chunk_size=20)
    source = source_from_config(conn, config)
    options = IngestOptions(similarities=SimilaritySettings(5))
    ingest(conn, "docs", source, model, options=options)
    return collection(conn, "docs")


def scores(conn):
    rows = conn.execute("select id, other_id, round(score, 3) from similarities")
    return {(one, other): score for one, other, score in rows}


def test_a_notice_counts_until_another_document_has_it_too(conn, model):
    sync(conn, model, cats=f"{CATS}\n\n{NOTICE}", taxes=TAXES)
    before = scores(conn)
    sync(conn, model, taxes=f"{TAXES}\n\n{NOTICE}")
    shared = scores(conn)
    assert shared["cats", "taxes"] < 0.3
    sync(conn, model, taxes=TAXES)
    assert scores(conn) == before
    assert before["cats", "taxes"] != shared["cats", "taxes"]


def test_a_copy_is_related_to_its_original(conn, model):
    text = f"{CATS}\n\n{NOTICE}"
    made = sync(conn, model, cats=text, copy=text, taxes=f"{TAXES}\n\n{NOTICE}")
    assert scores(conn)["cats", "copy"] == 1
    assert scores(conn)["cats", "taxes"] < 0.3
    assert similar_items(made, "cats")[0].document_id == "copy"


def steps_to_find_boilerplate(length):
    """What SQLite does for the notice in two documents of *length* other chunks."""
    conn = sqlite3.connect(":memory:")
    key = create_collection(conn, "docs", "m", None).id
    for number in range(2 * length):
        document, position = str(number % 2), number // 2
        text = NOTICE if position == length - 1 else str(number)
        conn.execute(
            "insert into embeddings (collection_id, id, embedding, content_hash)"
            " values (?, ?, x'0000803f', cast(? as blob))",
            [key, f"{document}/{position}", text],
        )
        conn.execute(
            """
            insert into _embedding_chunks
              (collection_id, id, document_id, document_hash, position, start, "end")
            values (?, ?, ?, x'00', ?, 0, 1)
            """,
            [key, f"{document}/{position}", document, position],
        )
    notices, steps = [f"{document}/{length - 1}" for document in (0, 1)], []
    made = collection(conn, "docs")
    conn.set_progress_handler(lambda: steps.append(1), 1)
    assert boilerplate(made, notices) == set(notices)
    conn.close()
    return len(steps)


def test_boilerplate_is_found_without_reading_whole_documents():
    assert steps_to_find_boilerplate(500) < 2 * steps_to_find_boilerplate(5)


def test_similarities_of_an_earlier_release_are_brought_up_to_date(conn, model):
    documents = {
        "cats": CATS,
        "taxes": TAXES,
        "bread": "Bread rises overnight with a wild yeast starter.",
    }
    documents = {name: f"{text}\n\n{NOTICE}" for name, text in documents.items()}
    made = sync(conn, model, **documents)
    conn.execute("update embeddings set updated = 1000")
    conn.commit()
    refresh(made)
    right = scores(conn)
    assert refresh(made).compared == 0
    # As 0.2a0 wrote them
    conn.execute("update similarities set score = 1")
    conn.execute(
        "update _embedding_similarity_marks set state = replace(state, '-', '')"
    )
    [noted] = conn.execute("select similarities from _embedding_collections").fetchone()
    noted = json.loads(noted)
    del noted["state"][-1]
    conn.execute(
        "update _embedding_collections set similarities = ?", [json.dumps(noted)]
    )
    conn.commit()
    assert count_stale(made) == 3
    sync(conn, model)
    assert scores(conn) == right
    assert count_stale(made) == 0
