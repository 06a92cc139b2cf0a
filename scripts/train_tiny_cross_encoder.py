"""Train the tests' reranker: python -m scripts.train_tiny_cross_encoder FOLDER

A real cross-encoder of two narrow layers that knows who lends what to whom.  It takes a
minute on two cores.  Some pairs of names are never shown to it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from datasette_embeddings.models.onnx import INPUTS
from datasette_embeddings.models.onnx_export import write_onnx
from tests.loans import HELD_OUT, NAMES, PAIRS, QUESTIONS, TEXTS, THINGS, Loan

SEED = 20_261_122
# The same sums in the same order on every machine with two cores
THREADS = 2
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MAX_TOKENS = 32
STEPS, BATCH, LEARNING_RATE = 3_000, 128, 2e-3


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    chance = random.Random(SEED)
    tokenizer = tokenizer_of_all_words()
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=MAX_TOKENS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            # As wide as the layers are narrow: with BERT's own 0.02 nothing is learned
            initializer_range=0.2,
            num_labels=1,
        )
    )
    shown = [each for each in PAIRS if each not in HELD_OUT]
    train(model, tokenizer, shown, chance)
    for name, some in (("shown", shown), ("held out", HELD_OUT)):
        print(f"{name}: right {accuracy(model, tokenizer, some, chance):.3f}")
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "onnx" / "model.onnx"
    write_onnx(model, path, INPUTS, "logits", max_tokens=MAX_TOKENS)
    without_traces(path)


def tokenizer_of_all_words() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words of the task."""
    patterns = (*TEXTS, *QUESTIONS)
    words = {word for each in patterns for word in each.split() if "{" not in word}
    words |= {word.lower() for word in (*NAMES, *THINGS)}
    vocabulary = {word: place for place, word in enumerate((*SPECIAL, *sorted(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=[*INPUTS],
    )


def examples(
    shown: Sequence[Loan], chance: random.Random
) -> Iterator[tuple[str, str, bool]]:
    """Questions and texts: the answer, the names swapped, or one other name."""
    while True:
        asked = chance.choice(shown)
        same = Loan(asked.lender, asked.borrower)
        swapped = Loan(asked.borrower, asked.lender)
        told = chance.choice([same, same, swapped, *chance.choices(shown, k=2)])
        told = Loan(told.lender, told.borrower, chance.choice(THINGS))
        question = asked.said(chance.choice(QUESTIONS))
        yield question, told.said(chance.choice(TEXTS)), told.answers(asked)


def scores(model, tokenizer, pairs: Sequence[tuple[str, str]]) -> torch.Tensor:
    questions, texts = zip(*pairs, strict=True)
    given = tokenizer(
        list(questions), list(texts), padding=True, truncation=True, return_tensors="pt"
    )
    return model(**given).logits[:, 0]


def train(model, tokenizer, shown: Sequence[Loan], chance: random.Random) -> None:
    """Teach *model* which texts answer which questions."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS
    )
    source = examples(shown, chance)
    model.train()
    for step in range(STEPS):
        batch = [next(source) for _ in range(BATCH)]
        right = torch.tensor([float(each[2]) for each in batch])
        found = scores(model, tokenizer, [each[:2] for each in batch])
        loss = binary_cross_entropy_with_logits(found, right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    model.eval()


@torch.no_grad()
def accuracy(model, tokenizer, some: Sequence[Loan], chance: random.Random) -> float:
    """How many of 1,000 examples it tells right."""
    source = examples(some, chance)
    tested = [next(source) for _ in range(1_000)]
    found = scores(model, tokenizer, [each[:2] for each in tested]) > 0
    return sum(map(lambda one, each: bool(one) == each[2], found, tested)) / len(tested)


def without_traces(path: Path) -> None:
    """Take from the file where in Python each node comes from, longer than weights."""
    made = onnx.load(path)
    for node in made.graph.node:
        del node.metadata_props[:]
    onnx.save(made, path)


if __name__ == "__main__":
    main()
