from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from datasette_embeddings.config.models import ModelConfig
from datasette_embeddings.config.settings import PLUGIN_NAME, READERS, Config
from datasette_embeddings.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "metadata.example.yml"


def test_the_example_holds_every_setting_with_its_default():
    settings = yaml.safe_load(EXAMPLE.read_text("utf-8"))["plugins"][PLUGIN_NAME]
    assert set(settings) == set(READERS)
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
    with pytest.raises(ConfigError, match="expected a key, found none") as raised:
        Config.from_plugin_config({"models": {"x": {"api_key": key}}})
    assert "sk-1234" not in str(raised.value)


def test_all_faults_are_in_one_message():
    with pytest.raises(ConfigError) as raised:
        Config.from_plugin_config(
            {"max_size": 0, "preload": "yes", "colour": "red", "models": {"x": "y"}}
        )
    assert raised.value.problems == [
        "max_size: expected a whole number of at least 1, found 0",
        "preload: expected true or false, found 'yes'",
        "Unknown setting 'colour'; there are allow_embed, collections, default_model, "
        "index_memory_mb, max_body_bytes, max_image_pixels, max_inputs, "
        "max_query_length, max_searches, max_size, max_text_length, "
        "max_waiting, models, preload",
        "models: expected settings such as 'path: FOLDER' under 'x'",
    ]


@pytest.mark.parametrize("settings", [[], "x", 3], ids=["list", "text", "number"])
def test_settings_that_are_no_mapping_are_refused(settings):
    with pytest.raises(ConfigError, match="Expected a mapping"):
        Config.from_plugin_config(settings)
