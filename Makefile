# `make` prints the targets and these options. Each target installs what it needs: Python packages into .venv with pip and, as
# root on Debian, TeX and a browser with apt-get.
#   AUTHOR=… COLLABORATORS=… HOURS=… TITLE=…  entries of the title block (default: those in report/report.toml)
#   REDUCED=1        train tiny models, which takes minutes, and write a draft to report/build/reduced.pdf
#   PARAMETERS=FILE  set parameters of notebooks, in a TOML file like report/reduced.toml
#   FORCE=1          run every notebook, including those that are unchanged
#   JOBS=…           the number of notebooks to run at the same time (default: 2)
#   RETRAIN=1        retrain the stored models of the first seed; with RETRAIN=all everything that is stored (many hours)
#   WITH_MODELS=1 WITH_OUTPUTS=1  add the trained models, the executed notebooks to the archive of `make submission`
#   SCHEDULER=tcp://HOST:PORT  train the sweeps on a Dask cluster whose workers share this folder
#   PYTHON=…         use this Python interpreter, which must have all dependencies, instead of .venv

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help report html references submission test benchmark notebooks lint setup tex chromium clean

TORCH ?= torch==2.14.1 torchvision==0.29.1
TEX := texlive-xetex texlive-plain-generic texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended lmodern fonts-texgyre \
  fonts-texgyre-math fonts-dejavu-core fonts-noto-cjk pandoc poppler-utils
ENVIRONMENT := $(if $(PYTHON),,.venv/.installed)
RUN := $(if $(PYTHON),"$(PYTHON)",.venv/bin/python)
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
# PARAMETERS reaches the shell in the environment, so that its name may have blanks.
OPTIONS := $(if $(filter-out 0,$(REDUCED)),--reduced --output report/build/reduced.pdf) $(if $(PARAMETERS),--parameters "$$PARAMETERS")
PACKED := $(if $(filter-out 0,$(WITH_MODELS)),--models) $(if $(filter-out 0,$(WITH_OUTPUTS)),--outputs)

# The title block is passed verbatim in the environment: no shell interprets its quotes, and make expands no dollar signs.
$(foreach name,AUTHOR COLLABORATORS HOURS TITLE PARAMETERS,$(eval override $(name) := $$(value $(name))))
export AUTHOR COLLABORATORS HOURS TITLE PARAMETERS RETRAIN FORCE JOBS

help: ## print the targets and options
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 12
	@echo; sed -n 's/^#   //p' Makefile

report: setup ## run all notebooks and write report/report.pdf and report/report.html
	@$(RUN) report/build.py $(OPTIONS)

html: setup ## run all notebooks and write only report/report.html
	@$(RUN) report/build.py --page $(OPTIONS)

references: $(ENVIRONMENT) ## write the report's numbers of figures, tables, sections and equations into the notebooks
	@$(RUN) report/references.py

submission: $(ENVIRONMENT) ## put the files to hand in, the PDF and an archive of the code, into report/build/submission
	@$(RUN) report/submission.py $(PACKED)

test: setup chromium lint ## check the style, then run all tests, two at a time
	@$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

benchmark: $(ENVIRONMENT) ## time the GANs' training and inversion (nothing passes or fails)
	@for name in gan inversion; do TQDM_DISABLE=1 $(RUN) tests/tools/benchmark_$$name.py; done

# report/jupyterlab: JupyterLab puts every cell into the page, seen or not, so that links work as soon as it is open.
notebooks: $(ENVIRONMENT) ## open copies of the notebooks, in my_notebooks, in JupyterLab, reachable only from this machine
	@$(RUN) $(HERE)report/copies.py notebooks my_notebooks
	@$(RUN) -m jupyterlab --ip=127.0.0.1 --notebook-dir=my_notebooks --LabApp.app_settings_dir=$(HERE)report/jupyterlab \
	  $(if $(filter 0,$(shell id -u)),--allow-root)

lint: $(ENVIRONMENT) ## check code and notebooks with ruff's linter and formatter
	@$(RUN) -m ruff check --quiet
	@$(RUN) -m ruff format --diff --quiet

setup: $(ENVIRONMENT) tex ## install what is missing in .venv and, as root, the Debian packages; download missing data
	@$(RUN) -c 'import helpers, papermill' || { echo '$(PYTHON) lacks a dependency: pip install -e ".[dev]"' >&2; exit 1; }
	@$(if $(filter 4,$(words $(wildcard data/*-ubyte.gz))),:,$(RUN) -m helpers.data)

clean: ## remove .venv, caches and the build folder; keep notebooks and their copies, models and the report
	rm -rf .venv report/build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml
	@find_python() { for p in python3 python3.{14,13,12,11}; do \
	    $$p -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null && echo $$p && return; done; false; }; \
	python=$$(find_python) || { [ "$$(id -u)" = 0 ] && $(APT) python3 python3-venv && python=$$(find_python); } || \
	  { echo 'No Python >= 3.11 with venv was found: install python3 and python3-venv.' >&2; exit 1; }; \
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $$python -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(TORCH)
	@touch $@

# $(call debian,PACKAGES,COMMANDS): as root on Debian, install what is missing; elsewhere print what is needed.
APT := apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends
debian = { type $(2) && { ! type dpkg || dpkg -s $(1); }; } >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && $(APT) $(1) >/dev/null; } \
  || echo 'The report or its tests need $(2), in Debian from: apt-get install $(1)' >&2
tex:
	@$(call debian,$(TEX),xelatex pandoc)
chromium:
	@$(call debian,chromium,chromium)
