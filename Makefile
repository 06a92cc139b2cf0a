# Two commands on a fresh machine: `make demo` and `make test`.  Before a release
# `make test-all`, which takes an hour.

PYTHON ?= python3
PORT ?= 8001
# How many processes run the tests of one Datasette.  Tests also wait, for programs and
# for the network, so that 2 for each are faster on 2 cores than 1
WORKERS ?= 2

# One environment to use, one to test with, one to test on Datasette 1.0, and one for
# images, whose libraries nothing else may come to need
DEMO_ENV = .venv
TEST_ENV = .venv-test
NEXT_ENV = .venv-datasette-1
IMAGES_ENV = .venv-images
# What makes them: a few times as fast as pip, which brings it. As pip does, it trusts
# the certificates that the system trusts
AGENTS_ENV = .venv-agents
UV_ENV = .venv-uv
UV = $(UV_ENV)/bin/uv
VENV = $(UV) venv --quiet --system-certs --seed --allow-existing --no-python-downloads --python $(PYTHON)
INSTALL = $(UV) pip install --quiet --system-certs

CLASSIC = datasette==0.65.5
NEXT = datasette==1.0a41
NEXT_TOOLS = axe-playwright-python build hatchling 'httpx<1' openai playwright \
	pytest pytest-asyncio pytest-xdist schemathesis==4.32.5
# torch is the one that pyproject.toml names for the other tests
IMAGES_TOOLS = pytest pytest-asyncio pytest-xdist safetensors torch==2.13.0

# The hosts of the tools: docs/design/tools.md
AGENTS_TOOLS = 'datasette-mcp>=0.3' 'datasette-agent>=0.4a0' 'httpx<1' pytest \
	pytest-asyncio pytest-xdist

.PHONY: demo serve wheel test test-all test-classic test-next lint docs bundled-model \
	tiny-clip clean

demo: $(DEMO_ENV)/.installed
	$(DEMO_ENV)/bin/datasette embeddings demo demo.db

serve: demo
	$(DEMO_ENV)/bin/datasette demo.db --host 127.0.0.1 --port $(PORT)

# dist/datasette_semantic_search-VERSION-py3-none-any.whl, with the model in it
wheel: $(DEMO_ENV)/.installed
	$(DEMO_ENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# Both Datasettes beside each other, so that one computes while the other starts or waits.
# Where make can, it prints what each has said when that is over
test test-all: SYNC = $(if $(filter output-sync,$(.FEATURES)),--output-sync)
test-all: ALL = --all
test test-all: $(TEST_ENV)/.installed $(NEXT_ENV)/.installed $(IMAGES_ENV)/.installed \
		$(AGENTS_ENV)/.installed
	$(MAKE) --no-print-directory -j3 $(SYNC) ALL=$(ALL) lint test-classic test-next

# Everything on 0.65.5; on 1.0 what faces Datasette, with the core dependencies only;
# images and agents in environments of their own; pytest leaves their folders out.
# Each line is one program, which make can end: a shell between them could not
PYTEST = -m pytest -n $(WORKERS) --dist worksteal --durations 10 $(ALL)
# The tests start many programs, each of which would compile all that it imports where
# the environment says that nothing is written
test-classic test-next: export PYTHONDONTWRITEBYTECODE =

test-classic: $(TEST_ENV)/.installed
	$(TEST_ENV)/bin/python $(PYTEST)

test-next: $(NEXT_ENV)/.installed $(IMAGES_ENV)/.installed $(AGENTS_ENV)/.installed
	$(NEXT_ENV)/bin/python $(PYTEST) tests/datasette
	$(IMAGES_ENV)/bin/python $(PYTEST) tests/images
	$(AGENTS_ENV)/bin/python $(PYTEST) tests/agents

lint: $(TEST_ENV)/.installed
	$(TEST_ENV)/bin/ruff format --check .
	$(TEST_ENV)/bin/ruff check .
	$(TEST_ENV)/bin/mypy
	$(TEST_ENV)/bin/codespell

# Writes the outputs in docs/sql-functions.md and docs/cli.md again
docs: $(TEST_ENV)/.installed
	$(TEST_ENV)/bin/cog -rP docs/sql-functions.md docs/cli.md

# Needed only after a change of the script: the weights are part of the repository
bundled-model: $(TEST_ENV)/.installed
	$(TEST_ENV)/bin/python scripts/build_bundled_model.py

# Likewise: a few minutes of two cores, and the same weights again
tiny-clip: $(IMAGES_ENV)/.installed
	$(IMAGES_ENV)/bin/python -m scripts.train_tiny_clip tests/tiny_clip

clean:
	rm -rf $(DEMO_ENV) $(TEST_ENV) $(NEXT_ENV) $(IMAGES_ENV) $(AGENTS_ENV) $(UV_ENV) demo.db

$(UV):
	$(PYTHON) -m venv $(UV_ENV)
	$(UV_ENV)/bin/python -m pip install --quiet uv

$(DEMO_ENV)/.installed: pyproject.toml | $(UV)
	$(VENV) $(DEMO_ENV)
	$(INSTALL) --python $(DEMO_ENV) --editable .
	touch $@

$(TEST_ENV)/.installed: pyproject.toml | $(UV)
	$(VENV) $(TEST_ENV)
	$(INSTALL) --python $(TEST_ENV) --editable '.[test]' '$(CLASSIC)'
	touch $@

$(NEXT_ENV)/.installed: pyproject.toml | $(UV)
	$(VENV) $(NEXT_ENV)
	$(INSTALL) --python $(NEXT_ENV) --editable . '$(NEXT)' $(NEXT_TOOLS)
	touch $@

$(IMAGES_ENV)/.installed: pyproject.toml | $(UV)
	$(VENV) $(IMAGES_ENV)
	$(INSTALL) --python $(IMAGES_ENV) --editable '.[images,documents]' '$(NEXT)' $(IMAGES_TOOLS)
	touch $@

$(AGENTS_ENV)/.installed: pyproject.toml | $(UV)
	$(VENV) $(AGENTS_ENV)
	$(INSTALL) --python $(AGENTS_ENV) --editable '.[llm]' '$(NEXT)' $(AGENTS_TOOLS)
	touch $@
