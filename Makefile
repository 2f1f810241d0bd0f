# Everything starts from Python >= 3.11, make and, on Debian or Ubuntu, apt-get.
PYTHON ?= python3
QT ?= pyqt6
VENV := $(if $(filter pyqt6,$(QT)),.venv,.venv-$(QT))
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
READY := $(VENV)/.ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
QT_ENV := QT_API=$(QT) PYTEST_QT_API=$(QT) OMP_NUM_THREADS=1
TEST := $(QT_ENV) tools/with_screen.sh $(BIN)/python -m pytest
# Processes that run tests side by side: as many as there are cores, up to 4, as each takes 2 GB.
JOBS ?= logical
SIDE_BY_SIDE := -n $(JOBS) --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo app test test-slow test-all check bench setup clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo 'Options: PYTHON=python3.12 (which Python), QT=pyside6 (which Qt binding), JOBS=0 (tests one after another), HEADLESS=1 (demo without a screen)'

demo: setup  ## run the main job on a sample: opens napari, or writes demo-output/ without a screen
	$(QT_ENV) $(BIN)/napari-implicitseg demo $(if $(HEADLESS),--headless)

app: setup  ## open napari with the plugin
	$(QT_ENV) $(BIN)/napari -w napari-implicitseg "Scribble to mask"

test: setup  ## run the tests but the slow ones
	$(TEST) $(SIDE_BY_SIDE) -m "not slow"

test-slow: setup  ## run the slow tests
	$(TEST) -m slow

test-all: setup  ## run all tests
	$(TEST) $(SIDE_BY_SIDE)

check: setup  ## style, types, layers, manifest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-implicitseg
	$(BIN)/python tools/check_lengths.py

bench: setup $(READY)-bench  ## measure speed and quality against peers and write benchmarks/RESULTS.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run.py --write

setup: $(READY)  ## install everything into $(VENV)

$(READY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Python {v[0]}.{v[1]} is too old: 3.11 or newer is needed. Try: make PYTHON=python3.12")'
	@tools/system_packages.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing into $(VENV) (minutes the first time) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(INSTALL) -e . --group test --group check --group $(QT)
	@rm -f $(VENV)/.ready-* && touch $@

$(READY)-bench:
	@$(INSTALL) --group bench
	@touch $@

clean:  ## remove what was built, downloaded and written
	rm -rf .venv .venv-* build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
