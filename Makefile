# `make` prints the targets. Everything is set up on demand: .venv with pip, TeX and, for the tests, a browser with apt-get
# where make runs as root.
#
# Variables: AUTHOR, COLLABORATORS, HOURS, TITLE (the title block, see report/report.toml); REDUCED=1 (tiny parameters,
# minutes, into report/build/reduced.pdf); RETRAIN=1 (train every model anew; RETRAIN=all: also those of which only the
# record is kept); FORCE=1 (run every notebook, also those for which nothing has changed since they ran); JOBS=… (so
# many notebooks at once; 2 where there are two processors); PYTHON=… (an interpreter that has all dependencies, in place of
# .venv); TORCH=… (other versions of the two packages pinned here).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TORCH ?= torch==2.14.1 torchvision==0.29.1
DEBIAN := texlive-xetex texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern fonts-texgyre \
  fonts-texgyre-math fonts-dejavu-core fonts-noto-cjk pandoc poppler-utils
DEBIAN_TEST := chromium

# The title block goes by environment and verbatim: no shell sees its quotes, and make expands none of its dollars.
override AUTHOR := $(value AUTHOR)
override COLLABORATORS := $(value COLLABORATORS)
override HOURS := $(value HOURS)
override TITLE := $(value TITLE)
export AUTHOR COLLABORATORS HOURS TITLE RETRAIN FORCE JOBS

ifdef PYTHON
ENVIRONMENT :=
RUN := "$(PYTHON)"
else
ENVIRONMENT := .venv/.installed
RUN := .venv/bin/python
endif

.PHONY: help report html submission test benchmark notebooks lint setup clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 12

report: setup ## run all notebooks and write report/report.pdf and report/report.html
	@$(RUN) report/build.py $(if $(filter-out 0,$(REDUCED)),--reduced --output report/build/reduced.pdf)

html: setup ## run all notebooks and write only report/report.html
	@$(RUN) report/build.py --page $(if $(filter-out 0,$(REDUCED)),--reduced --output report/build/reduced.pdf)

submission: $(ENVIRONMENT) ## write what is handed in: the PDF and an archive of the code, into report/build/submission
	@$(RUN) report/submission.py

test: setup chromium lint ## check style, then run all tests
	@$(RUN) -m pytest

benchmark: $(ENVIRONMENT) chromium ## time the sampler, the GANs' training, inversion and the sliders (minutes; nothing passes or fails)
	@$(RUN) tests/benchmark_echo.py
	@TQDM_DISABLE=1 $(RUN) tests/benchmark_gan.py
	@$(RUN) tests/benchmark_inversion.py
	@$(RUN) tests/benchmark_widgets.py

notebooks: $(ENVIRONMENT) ## open JupyterLab, on this machine only
	@$(RUN) -m jupyterlab --ip=127.0.0.1 --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --ServerApp.kernel_websocket_connection_class=helpers.lab_server.PromptConnection

lint: $(ENVIRONMENT) ## ruff's linter and formatter, on code and notebooks
	@$(RUN) -m ruff check --quiet
	@$(RUN) -m ruff format --check --quiet || { $(RUN) -m ruff format --check; exit 1; }

setup: $(ENVIRONMENT) tex mnist ## install what is missing: .venv and, as root, the Debian packages; fetch missing data
ifdef PYTHON
	@$(RUN) -c "import papermill, nbconvert, torch, torchvision, helpers" || { echo 'PYTHON=$(PYTHON) lacks a' \
	  'dependency: install this folder into it (pip install -e ".[dev]") or leave PYTHON out.' >&2; exit 1; }
endif

clean: ## remove .venv, caches and the build folder; notebooks, models and the PDF stay
	rm -rf .venv report/build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# A python >= 3.11 that can make virtual environments.
.venv/.installed: pyproject.toml
	@good() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
	find_python() { for p in python3 python3.14 python3.13 python3.12 python3.11; do good $$p && echo $$p && return; done; return 1; }; \
	python=$$(find_python) || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3 python3-venv; \
	  fi; \
	  python=$$(find_python) || { echo 'No Python >= 3.11 with venv was found: install python3 and python3-venv.' >&2; exit 1; }; }; \
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $$python -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(TORCH)
	@touch $@

.PHONY: mnist
mnist: $(ENVIRONMENT)
	@$(if $(filter 4,$(words $(wildcard data/*-ubyte.gz))),:,$(RUN) -m helpers.data)

# What apt-get installs where make runs as root; elsewhere a sentence says what is missing, and for what.
define debian
	@if command -v dpkg-query >/dev/null; then \
	  missing=; for p in $(1); do \
	    dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	  elif [ -n "$$missing" ]; then \
	    echo "$(2), have them installed as root: apt-get install$$missing" >&2; \
	  fi; \
	elif $(3); then \
	  echo $(4) >&2; \
	fi
endef

.PHONY: tex chromium
tex:
	$(call debian,$(DEBIAN),The PDF needs these Debian packages,\
	  ! command -v xelatex >/dev/null || ! command -v pandoc >/dev/null,\
	  'The PDF needs xelatex (TeX Live) and pandoc: they were not found.')

chromium:
	$(call debian,$(DEBIAN_TEST),The test in a browser is skipped without these Debian packages,\
	  ! command -v chromium >/dev/null,'The test in a browser needs chromium: it was not found.')
