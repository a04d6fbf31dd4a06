# Targets below; `make help` lists them. Every target installs what it needs itself: see .ci/packages.
# Root is needed for namespaces and iptables only; without it the tests and the demo say what they leave out.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
SOURCES := $(wildcard proxy/_fastpath.pyx proxy/fast/*.pxd)
PIP := $(PY) -m pip --quiet --disable-pip-version-check

# Daemons and network tools live in sbin, which a user's PATH may lack.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# --- setup -------------------------------------------------------------------------------------

.PHONY: setup build packages-build packages-run
setup: packages-run build ## Debian packages (as root), .venv, compiled extension
build: $(VENV)/.built ## the extension, compiled into the source tree

packages-build packages-run packages-bench:
	@.ci/packages $(@:packages-%=%)

# A venv whose base interpreter is gone is made anew: `-c ''` is the cheapest proof that it runs.
$(VENV)/.python: | packages-build
	$$(.ci/python) -m venv --clear $(VENV)
	touch $@

# Dependencies first and the project after them, so that the build uses the pinned compiler.
$(VENV)/.dependencies: pyproject.toml $(VENV)/.python
	$(PY) .ci/requirements dev > $(VENV)/requirements.txt
	$(PIP) install -r $(VENV)/requirements.txt
	touch $@

$(VENV)/.built: $(SOURCES) $(VENV)/.dependencies
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@
