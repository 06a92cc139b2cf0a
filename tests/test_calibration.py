"""``evaluate --calibrate``: an owner finds from when on an answer is close."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.search import questions
from datasette_embeddings.search.calibration import Calibration
from datasette_embeddings.search.questions import read_texts
from datasette_embeddings.store.collections import collection

DATA = Path(__file__).parent.parent / "benchmarks" / "data"
OFF_TOPIC = json.loads((DATA / "off_topic.json").read_text())["stdlib"]


def spread(low, high, count=100):
    """So many numbers from *low* to *high*."""
    return [low + (high - low) * number / (count - 1) for number in range(count)]


def test_a_threshold_is_in_the_middle_of_those_that_would_do():
    found = Calibration([0.2] * 80 + [0.9] * 20, [0.1] * 3 + [0.4] * 97)
    assert found.threshold == pytest.approx(0.3)
    assert found.flagged() == (80, 3)


@pytest.mark.parametrize(
    ("off_topic", "real"),
    [
        ([0.2] * 79 + [0.9] * 21, [0.4] * 100),
        ([0.2] * 100, [0.1] * 4 + [0.4] * 96),
        ([0.3] * 100, [0.3] * 100),
        (spread(0, 1), spread(0, 1)),
    ],
    ids=["too few off topic", "too many real ones", "equal", "mixed"],
)
def test_where_no_threshold_would_do_there_is_none(off_topic, real):
    assert Calibration(off_topic, real).threshold is None


@pytest.mark.parametrize("off", [20, 21, 33, 65])
@pytest.mark.parametrize("count", [20, 33, 34, 67, 175])
def test_the_shares_are_kept_for_any_number_of_questions(off, count):
    found = Calibration(spread(0, 0.5, off), spread(0.39, 1, count))
    far, real = found.flagged()
    assert far >= 0.8 * off
    assert found.threshold is None or real <= 0.03 * count


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("off.json", '["gout", "a cake", "gout"]'),
        ("off.nl", '"gout"\n\n"a cake"\n'),
        ("off.txt", "gout\r\n\r\n a cake \n"),
        ("off", "gout\na cake"),
    ],
)
def test_texts_are_read_from_json_or_lines(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, newline="")
    assert read_texts(path) == ["gout", "a cake"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("off.json", '{"stdlib": []}', "expected a list of texts in JSON, found"),
        ("off.json", '["gout", 5]', "text 2: expected a question, found 5"),
        ("off.json", '["gout", " "]', "text 2: expected a question, found ' '"),
        ("off.json", '["gout"', "the JSON cannot be read"),
        ("off.json", "[" * 100_000, "the JSON cannot be read"),
        ("off.nl", '"gout"\ngout', "the JSON cannot be read"),
        ("off.txt", "gout\n" + "x" * 10_001, "at most 10,000 characters"),
        ("off.txt", "\n".join(map(str, range(10_001))), "at most 10,000 questions"),
        ("off.txt", "a\0b", "binary data"),
    ],
)
def test_a_file_that_has_no_texts_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message) as found:
        read_texts(path)
    assert str(path) in str(found.value)


def test_a_large_file_of_texts_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "off.txt"
    path.write_text("gout")
    monkeypatch.setattr(questions, "MAX_BYTES", 3)
    with pytest.raises(InvalidInputError, match="at most 3 bytes, found 4"):
        read_texts(path)


@pytest.fixture
def copy(demo, tmp_path):
    return shutil.copy(demo.path, tmp_path / "copy.db")


@pytest.fixture
def calibrate(copy, tmp_path):
    """The command, with these questions off topic and these real ones."""

    def calibrate(off_topic, *options, real):
        path, asked = tmp_path / "off_topic.json", tmp_path / "questions.json"
        path.write_text(json.dumps(off_topic))
        asked.write_text(json.dumps(real))
        arguments = ["evaluate", copy, "stdlib", asked, "--mode", "words", *options]
        arguments += ["--calibrate", path]
        return CliRunner().invoke(embeddings, list(map(str, arguments)))

    return calibrate


@pytest.fixture
def real(copy):
    """The beginnings of descriptions, as questions."""
    with closing(sqlite3.connect(copy)) as conn:
        rows = conn.execute(
            """
            select path, substr(doc, 1, 40)
            from functions
            where length(doc) > 60
            order by path
            limit 40
            """
        ).fetchall()
    return [{"q": text, "relevant": [path]} for path, text in rows]


def closeness(path):
    with closing(sqlite3.connect(path)) as conn:
        return collection(conn, "stdlib").closeness


def test_a_collection_is_calibrated(calibrate, copy, real):
    assert closeness(copy) is None
    result = calibrate(OFF_TOPIC, real=real)
    assert result.exit_code == 0, result.output
    stored = closeness(copy)
    assert 0.3 < stored < 0.6
    line = result.stdout.splitlines()[-1]
    assert f"from a closeness of {stored:.3f} on" in line
    assert f"of {len(OFF_TOPIC)} (" in line
    shown = CliRunner().invoke(embeddings, ["collections", "show", str(copy), "stdlib"])
    assert json.loads(shown.stdout)["closeness"] == stored


def test_figures_for_programs_are_on_standard_output_alone(calibrate, real):
    result = calibrate(OFF_TOPIC, "--format", "json", real=real)
    assert (result.exit_code, len(json.loads(result.stdout)) > 0) == (0, True)
    assert "Stored: an answer is close from" in result.stderr


def test_without_a_threshold_nothing_is_stored(calibrate, copy, real):
    result = calibrate([each["q"] for each in real], real=real)
    assert result.exit_code == 1
    assert "Error: No closeness flags 80 % of the questions off topic" in result.stderr
    assert result.stderr.endswith("Nothing was stored\n")
    assert closeness(copy) is None


def test_few_questions_are_refused(calibrate, real):
    result = calibrate(OFF_TOPIC[:19], real=real)
    assert result.exit_code == 1
    assert "Expected at least 20 questions off topic" in result.stderr
    assert "found 19" in result.stderr
    result = calibrate(OFF_TOPIC, real=[*real[:19], {**real[0], "kind": "again"}])
    assert result.exit_code == 1
    assert "Expected at least 20 different questions that have" in result.stderr


def test_two_collections_are_not_calibrated_at_a_time(calibrate, real):
    result = calibrate(OFF_TOPIC, "--compare", "stdlib", real=real)
    assert (result.exit_code, "for one collection" in result.stderr) == (1, True)


def test_a_small_collection_is_not_calibrated(articles_db, tmp_path):
    path = tmp_path / "off_topic.json"
    path.write_text(json.dumps(OFF_TOPIC))
    asked = tmp_path / "questions.json"
    asked.write_text('[{"q": "bread", "relevant": ["1"]}]')
    command = ["evaluate", articles_db, "articles", asked, "--calibrate", path]
    result = CliRunner().invoke(embeddings, list(map(str, command)))
    assert result.exit_code == 1
    assert "Expected at least 50 documents in the words index" in result.stderr
