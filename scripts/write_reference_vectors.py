"""Write the vectors that the fp32 weights of the bundled model give for sample texts.

tests/test_bundled_model.py compares the bundled int8 weights with them on every change,
and with `--all` checks them against the weights:

    .venv-test/bin/python -m scripts.write_reference_vectors

Texts of the standard library differ from one Python to the next, so each vector stands
beside the MD5 of its text, and a test uses those whose text it has.
"""

from __future__ import annotations

from tests.reference import PATH, reference_model, sample_texts, stdlib_texts, write


def main() -> None:
    texts = sample_texts(stdlib_texts())
    write(texts, reference_model().encode(texts))
    print(f"{PATH}: {len(texts)} vectors")


if __name__ == "__main__":
    main()
