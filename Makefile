# One environment, .venv, for all targets: whichever comes first makes and fills it.
#
#     make quickstart            the line from questions to report      ARGS=--fresh samples every chain anew
#     make test                  the tests                              ARGS="-k tree -x" is passed on to pytest
#     make PYTHON=python3.12 ... another Python for .venv; at least 3.11

PYTHON ?=
ARGS ?=
BENCH ?= train decode corpus sample

VENV := .venv
STAMP := $(VENV)/.installed
# Holds make's process number while packages are being installed: what an interrupted install left is made anew.
UNFINISHED := $(VENV)/.installing

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-slow test-browser check bench

help:
	@echo "make quickstart   a real teacher's chains, three students trained on them, and a report on how they answer"
	@echo "make test         the tests"
	@echo "make test-slow    the tests that need minutes, or a real model's weights"
	@echo "make test-browser the served pages in Chromium (installed with apt where it is missing), and axe's rules of access"
	@echo "make check        format, lint, types, layering"
	@echo "make bench        against TRL, generate and openvino-genai, as JSON lines, equality first; BENCH=train for one"
	@echo "make install      only .venv, which every target makes where it is missing"
	@echo "ARGS=... is passed on; PYTHON=... chooses the interpreter for .venv (at least 3.11)"

install: $(STAMP)

quickstart: $(STAMP)
	$(VENV)/bin/scotd run experiments/quickstart.yaml $(ARGS)

test: $(STAMP)
	$(VENV)/bin/pytest -m "not slow" $(ARGS)

test-slow: $(STAMP)
	$(VENV)/bin/pytest -m "slow and not browser" $(ARGS)

# Playwright's client drives the system's Chromium, not one of its own; axe is for the tests alone.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
AXE := $(VENV)/axe/node_modules/axe-core/axe.min.js

test-browser: $(STAMP) $(AXE)
	@[ -n "$(CHROMIUM)" ] || apt-get install -y chromium
	CHROMIUM="$(or $(CHROMIUM),/usr/bin/chromium)" AXE=$(AXE) $(VENV)/bin/pytest -m browser $(ARGS)

$(AXE): $(STAMP)
	npm install --silent --no-save --prefix $(VENV)/axe axe-core@4.14.1

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[local,bench]'
	for name in $(BENCH); do $(VENV)/bin/python bench/$$name.py $(ARGS) || exit; done

# pip stays in .venv: fetching model files needs it (model_fetch.py).
$(STAMP): pyproject.toml constraints.txt
	@if [ -e $(UNFINISHED) ]; then \
	  if kill -0 "$$(cat $(UNFINISHED))" 2>/dev/null; then \
	    echo "Another make is filling $(VENV): wait until it is done." >&2; exit 1; \
	  fi; \
	  echo "The last install was interrupted: making $(VENV) anew."; rm -rf $(VENV); \
	fi
	@if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then \
	  found=; \
	  for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	    if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	    then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or newer with its venv module was found ($(or $(PYTHON),python3, python3.11 to 3.14)):" \
	      "install one (on Debian with python3-venv), or name it: make PYTHON=/path/to/python3." >&2; \
	    exit 1; \
	  fi; \
	  $$found -m venv --clear $(VENV) || exit 1; \
	fi
	@echo $$PPID > $(UNFINISHED)
	@echo "Installing scotd and what it needs into $(VENV): a few minutes the first time."
	@quiet=; [ -t 1 ] || quiet=--quiet; \
	$(VENV)/bin/python -m pip install $$quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	@rm -f $(UNFINISHED)
	@touch $(STAMP)
