from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from datasette_embeddings.config import (
    PLUGIN_NAME,
    CollectionConfig,
    Config,
    ModelConfig,
    Settings,
)
from datasette_embeddings.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "metadata.example.yml"


def test_the_example_holds_every_setting_with_its_default():
    settings = yaml.safe_load(EXAMPLE.read_text("utf-8"))["plugins"][PLUGIN_NAME]
    assert set(settings) == {each.name for each in fields(Settings)}
    assert Config.from_plugin_config(settings) == Config()


def test_no_settings_are_the_defaults():
    assert Config.from_plugin_config(None) == Config()


def test_models_have_a_path():
    config = Config.from_plugin_config({"models": {"my/model": {"path": "/models/x"}}})
    assert config.models == {"my/model": ModelConfig(path="/models/x")}


def test_a_key_is_taken_without_the_end_of_its_line_and_never_shown():
    config = Config.from_plugin_config({"models": {"x": {"api_key": "sk-1234\n"}}})
    assert config.models["x"].api_key == "sk-1234"
    assert "sk-1234" not in repr(config)


@pytest.mark.parametrize("key", [None, "", " \n", 3, ["sk-1234"]])
def test_a_key_that_is_none_is_told_without_being_shown(key):
    with pytest.raises(ConfigError, match=r"x\.api_key: expected a key") as raised:
        Config.from_plugin_config({"models": {"x": {"api_key": key}}})
    assert "sk-1234" not in str(raised.value)


def test_all_faults_are_in_one_message():
    with pytest.raises(ConfigError) as raised:
        Config.from_plugin_config(
            {
                "max_size": 0,
                "preload": "yes",
                "colour": "red",
                "models": {"x": "y", "z": {"dimensions": 0, "threads": "2"}},
                "collections": {"c": {"table": 3, "columns": [1]}},
            }
        )
    assert list(raised.value.problems) == [
        "models.x: expected a mapping, found a text",
        "models.z.dimensions: expected a whole number of at least 1, found a number",
        "models.z.threads: expected a whole number of at least 1, found a text",
        "collections.c.table: expected a text, found 3",
        "collections.c.columns: expected a name or a list of names, found [1]",
        "preload: expected true or false, found 'yes'",
        "max_size: expected a whole number of at least 1, found 0",
        "colour: unknown, expected one of default_model, models, collections, preload, "
        "max_query_length, max_size, max_text_length, max_inputs, max_body_bytes, "
        "max_image_pixels, max_searches, max_waiting, allow_embed, index_memory_mb, "
        "index, rerank, rerank_time_limit_ms",
    ]


@pytest.mark.parametrize(
    "models",
    [
        "sk-1234",
        ["sk-1234"],
        {"x": "sk-1234"},
        {"x": {"url": "sk-1234", "runtime": "sk-1234", "threads": "sk-1234"}},
        {"x": {"api_key": {"env": "sk-1234"}}},
    ],
    ids=["text", "list", "model", "settings", "mapping"],
)
def test_a_key_in_a_wrong_place_is_not_shown(models):
    with pytest.raises(ConfigError) as raised:
        Config.from_plugin_config({"models": models})
    assert "1234" not in str(raised.value)


def test_hundreds_of_faults_are_counted_and_the_first_ones_shown():
    models = {f"model {number}": 3 for number in range(500)}
    with pytest.raises(ConfigError, match="and 480 more") as raised:
        Config.from_plugin_config({"models": models})
    assert len(raised.value.problems) == 21


def test_names_that_yaml_reads_as_numbers_are_text():
    config = Config.from_plugin_config({"collections": {2024: {"table": "a"}}})
    assert config.collections == {"2024": CollectionConfig(table="a")}


@pytest.mark.parametrize("settings", [[], "x", 3], ids=["list", "text", "number"])
def test_settings_that_are_no_mapping_are_refused(settings):
    with pytest.raises(ConfigError, match="expected a mapping"):
        Config.from_plugin_config(settings)
