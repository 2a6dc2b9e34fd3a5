# One word for each thing that people and machines do here.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= demo
TEMPLATES ?=
VERSION ?= unstable
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)

export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS = 1

.PHONY: help install demo test check bench cluster-test docs image lock sbom clean

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

check: install  ## linters and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install  ## speed and accuracy beside other programs, where they are installed
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

cluster-test: install  ## what clusters do to a run, as printed; with SLURM where there is one
	$(BIN)/python benchmarks/cluster_test.py

docs: install  ## the documentation as a site, with pictures of the demonstration
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/python docs/pictures.py $(DEMO)
	$(BIN)/mkdocs build --strict

image:  ## the container image
	docker build -t bids/alps --build-arg TEMPLATES="$(TEMPLATES)" --build-arg VERSION="$(VERSION)" \
	  --build-arg REVISION="$(REVISION)" .

LOCK = uv pip compile --python-version 3.12 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-header \
  --no-emit-index-url --annotation-style line --quiet

lock: install  ## what the image is made of and built with, with hashes for x86-64 and aarch64
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/$(LOCK) pyproject.toml --extra dask --extra fieldmaps --extra validate -o requirements.lock
	echo "hatchling>=1.24" | $(BIN)/$(LOCK) - -o requirements-build.lock

sbom:  ## bill of materials of the image with licences, CycloneDX
	docker run --rm -i --network none --entrypoint python bids/alps - < .ci/sbom.py > sbom.cdx.json

clean:  ## everything that was made
	rm -rf $(VENV) $(DEMO) build dist site .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache sbom.cdx.json
