# One word for each thing that people and machines do here.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= demo
TEMPLATES ?=
VERSION ?= unstable
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)

TEST_TOOLS = "hypothesis>=6.100" "pingouin>=0.5.5" "psutil>=5.9" "pytest>=8.2" "pytest-randomly>=3.15" \
  "pytest-xdist>=3.6"

export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS = 1

.PHONY: help install demo test test-fast test-quick test-oldest test-outside wheel-test golden mutants check bench \
  bench-quick cluster-test image-test docs image lock sbom clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

install: $(BIN)/.installed  ## environment with everything that development needs

demo: install  ## the main job on two generated participants, measured against the truth
	$(BIN)/python -m bids_alps.demo $(DEMO)

test: install  ## the test suite
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term

test-fast: install  ## within a minute: without whole levels, pages, registrations (medium) and long runs (slow)
	$(BIN)/python -m pytest -n 2 -m "not slow and not medium"

test-quick: install  ## the suite without the tests marked slow
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-oldest: install  ## the quick tests with the oldest libraries that pyproject.toml allows
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --no-header --resolution lowest-direct pyproject.toml --extra dask --extra fieldmaps -o oldest.txt
	$(PYTHON) -m venv --clear .venv-oldest
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-oldest/bin/python -c oldest.txt -e ".[dask,fieldmaps]" $(TEST_TOOLS)
	.venv-oldest/bin/python -m pytest -n 2 -m "not slow" -W default::DeprecationWarning -W default::PendingDeprecationWarning  # of old libraries

test-outside:  ## the quick tests as strangers run them: no home, C locale, a path with blanks, small TMPDIR, random order
	.ci/outside

wheel-test:  ## the wheel alone, installed into Python 3.11, 3.12 and 3.13 and run outside of the checkout
	.ci/wheel-test

golden: install  ## run the golden study, say in words which numbers changed, keep the new tables
	$(BIN)/python tests/golden_study.py

mutants: install  ## 150 seeded mutants of the package, which the quick tests must notice; resumes an earlier run
	$(BIN)/python .ci/mutants.py

check: install  ## linters and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install  ## speed and accuracy beside other programs, where they are installed
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

bench-quick: install  ## every benchmark in a small form, its figures within bounds
	$(BIN)/python benchmarks/quick.py

cluster-test: install  ## what clusters do to a run, as printed; with SLURM where there is one
	$(BIN)/python benchmarks/cluster_test.py

docs: install  ## the documentation as a site, with pictures of the demonstration
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/python docs/pictures.py $(DEMO)
	$(BIN)/mkdocs build --strict

image:  ## the container image
	docker build -t bids/alps --build-arg TEMPLATES="$(TEMPLATES)" --build-arg VERSION="$(VERSION)" \
	  --build-arg REVISION="$(REVISION)" .

image-test:  ## the image built, its size, four ways of running it, what it leaves behind; ENGINE=docker
	.ci/image-test

LOCK = uv pip compile --python-version 3.12 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
  --no-emit-index-url --annotation-style line --quiet

lock: install  ## what the image is made of and built with, with hashes for x86-64 and aarch64
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/$(LOCK) pyproject.toml --extra dask --extra fieldmaps --extra validate -o requirements.lock
	echo "hatchling>=1.24" | $(BIN)/$(LOCK) - -o requirements-build.lock

sbom:  ## bill of materials of the image with licenses, CycloneDX
	docker run --rm -i --network none --entrypoint python bids/alps - < .ci/sbom.py > sbom.cdx.json

clean:  ## everything that was made
	rm -rf $(VENV) .venv-oldest oldest.txt .mutants $(DEMO) build dist site .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache sbom.cdx.json
