"""What a server adds: its models and their thread, its limits, the reasons of SQL."""

from __future__ import annotations

from datasette_embeddings.serving.batches import (
    image_vectors,
    in_model_thread,
    passage_vectors,
    questions,
)
from datasette_embeddings.serving.gate import Gate, gate_of
from datasette_embeddings.serving.models import (
    has_started,
    is_ready,
    load_allowed,
    may_take_images,
    start,
)
from datasette_embeddings.serving.offers import (
    check_offered,
    config_for,
    load_offered,
    log_once,
    offered_models,
)
from datasette_embeddings.serving.reasons import (
    collected_reasons,
    reasons,
    report_reason,
)

__all__ = [
    "Gate",
    "check_offered",
    "collected_reasons",
    "config_for",
    "gate_of",
    "has_started",
    "image_vectors",
    "in_model_thread",
    "is_ready",
    "load_allowed",
    "load_offered",
    "log_once",
    "may_take_images",
    "offered_models",
    "passage_vectors",
    "questions",
    "reasons",
    "report_reason",
    "start",
]
