# Everyday commands. Each is one or two plain commands, which README.md spells out for machines without make.
#
#   make setup PYTHON=python3.12      another Python (3.11 or newer) for the environment
#   make setup VENV=/elsewhere/venv   another place for it; give the same VENV to the other targets
#   make setup HEADLESS=1             opencv-python-headless in place of opencv-python (no libGL, no glib)
#   make images IMAGES=demo.png       some of the images only
#   make test PYTEST="-k matcher -x"  further arguments of pytest; likewise DEMO="--help" for make demo
#   make test WORKERS=8               processes that share the tests, about 4 GB of memory each; 0 for --pdb

PYTHON ?= python3
VENV ?= .venv
HEADLESS ?=
WORKERS ?= 2
PYTEST ?=
DEMO ?=

BIN := $(VENV)/bin

.PHONY: help setup demo test test-slow test-all lint format docs images audit clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup:  ## environment in .venv: pinned packages, Detectron2, EGTR
	@$(PYTHON) tools/setup/setup_env.py --venv "$(VENV)" $(if $(filter-out 0,$(HEADLESS)),--opencv-headless)

demo: setup  ## train, evaluate and draw on the embedded dataset (at most 15 minutes on 2 cores)
	"$(BIN)/python" tools/quickstart.py $(DEMO)

# worksteal: neighbours share fixtures, so that each process takes a row of tests, and one that is done takes some of
# another's. One thread each.
SHARED := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 "$(BIN)/python" -m pytest -n $(WORKERS) --dist worksteal

test: setup  ## every test that is not slow
	$(SHARED) -m "not slow" $(PYTEST)

test-slow: setup  ## only the slow tests
	$(SHARED) -m slow $(PYTEST)

test-all: setup  ## every test
	$(SHARED) $(PYTEST)

lint: setup  ## ruff, the contract of imports, and plain English
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .
	"$(BIN)/lint-imports"
	"$(BIN)/python" tools/check_english.py

format: setup  ## ruff's formatter, in place
	"$(BIN)/python" -m ruff format .

# The site needs neither torch nor the library: an environment of its own is made in seconds. --strict: warnings are
# errors.
docs:  ## the documentation as a site, in output/site
	$(PYTHON) -m venv "$(VENV)-docs"
	"$(VENV)-docs/bin/python" -m pip install --quiet -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 "$(VENV)-docs/bin/python" -m mkdocs build --strict

images: setup  ## the images of README.md and docs/, as their commands draw them
	"$(BIN)/python" tools/make_images.py $(IMAGES)

# pip-audit has an environment of its own, so that it changes none of the versions that it looks at. Detectron2, which
# is on no index, is left out; by --strict any other package that the service does not know of ends the audit.
audit: setup  ## known vulnerabilities of the installed packages, as the package index lists them
	"$(BIN)/python" -m venv "$(VENV)/audit"
	"$(VENV)/audit/bin/python" -m pip install --quiet pip-audit==2.10.1
	"$(BIN)/python" -m pip freeze --exclude-editable > "$(VENV)/audit/installed.txt"
	sed -n 's/+.*//; /==/p' "$(VENV)/audit/installed.txt" > "$(VENV)/audit/pinned.txt"
	"$(VENV)/audit/bin/pip-audit" --strict --progress-spinner off --no-deps --disable-pip -r "$(VENV)/audit/pinned.txt"

clean:  ## remove build leftovers and caches; the environment, datasets/ and output/ stay
	rm -rf build dist egtr.egg-info .pytest_cache .ruff_cache .hypothesis
	find benchmarks egtr tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
