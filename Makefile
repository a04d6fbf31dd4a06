# Targets below; `make help` lists them. Every target installs what it needs itself: see .ci/packages.
# Root is needed for namespaces and iptables only; without it the tests and the demo say what they leave out.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
EXTENSION := $(wildcard proxy/*.pyx proxy/*.pxd proxy/fast/*.pxd)

# Daemons and network tools live in sbin, which a user's PATH may lack.
export PATH := $(PATH):/usr/sbin:/sbin

# Where Python may not keep what it compiled, each of thousands of proxies compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

# More words for pytest, the demo or the benchmark: make test ARGS='-k relay -x'
ARGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

# --- setup -------------------------------------------------------------------------------------

.PHONY: setup build packages-build packages-run packages-test packages-bench packages-image
setup: packages-run build ## Debian packages (as root), .venv, compiled extension
build: $(VENV)/.built ## the extension, compiled into the source tree

packages-build:
	@.ci/packages build
packages-run packages-test packages-bench packages-image:
	@.ci/packages build $(@:packages-%=%)

$(VENV)/.python: | packages-build
	$$(.ci/python) -m venv --clear $(VENV)
	@touch $@

# Dependencies first and the project after them, so that the build uses the pinned compiler.
$(VENV)/.dependencies: pyproject.toml .ci/requirements $(VENV)/.python
	$(PY) .ci/requirements dev > $(VENV)/requirements.txt
	$(PIP) install -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.dependencies
	$(PY) .ci/requirements bench > $(VENV)/requirements-bench.txt
	$(PIP) install -r $(VENV)/requirements-bench.txt
	@touch $@

# As a line of a .pth file: the finder that is the default takes each Python 20 ms of CPU to begin with,
# and tests start a proxy two thousand times.
$(VENV)/.built: $(EXTENSION) $(VENV)/.dependencies
	$(PIP) install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

# --- tests -------------------------------------------------------------------------------------

# An expression of pytest's -m: make test MARKS='not slow'. Namespaces and iptables need root: without it
# those tests are deselected, and pytest's last line says how many.
MARKS ?= root or not root
ifneq ($(shell id -u),0)
override MARKS := ($(MARKS)) and not root
endif
PYTEST := $(PY) -m pytest -m '$(MARKS)'
# Tests wait more than they compute: one process more than there are cores. JOBS=0: one after the other.
JOBS ?= $(shell expr $$(nproc) + 1)
IN_PARALLEL := -n $(JOBS) --dist worksteal

.PHONY: test unit wire soak lint
test: setup packages-test ## every test; as root with network namespaces and iptables too
	$(PYTEST) $(IN_PARALLEL) $(ARGS)

unit: build ## pure logic and the tidy rules, in seconds
	$(PYTEST) tests/unit $(ARGS)

wire: setup packages-test ## a real proxy process and real sockets
	$(PYTEST) tests/wire tests/scenarios $(ARGS)

soak: setup packages-test ## what `make test` leaves out: load, races, every pair of parameters; some minutes
	$(PY) -m pytest -m soak $(ARGS)

lint: build ## ruff, mypy strict, stub against module, cython-lint, tidy rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy.stubtest --ignore-disjoint-bases --allowlist .ci/stubtest.allow proxy._fastpath
	PATH=$(VENV)/bin:$$PATH cython-lint proxy
	$(PYTEST) -q tests/unit/test_tidy_*.py

# --- tests with a real Kubernetes API server ---------------------------------------------------

# Built once, from Go modules, which takes a while and some disk. `make test` has these tests, too, where
# it was built, and says that it was not elsewhere.
APISERVER := build/kube/apiserver
# What it says of itself; Kubernetes' own builds are told the same way.
KUBE_VERSION := $(shell sed -n 's|.*k8s.io/kubernetes \(v1[0-9.]*\)|\1|p' tests/kube/apiserver/go.mod)
KUBE_SAYS := -X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION)
KUBE_SOURCES := $(addprefix tests/kube/apiserver/,main.go go.mod go.sum)

$(APISERVER): $(KUBE_SOURCES)
	@command -v go >/dev/null || { echo 'Missing: go, which builds the API server of these tests' >&2; exit 1; }
	@echo "Building the API server of the tests: some 2000 packages, once"
	@mkdir -p $(@D)
	cd tests/kube/apiserver && nice go build -v -trimpath -ldflags='-s -w $(KUBE_SAYS)' \
	    -o $(CURDIR)/$@ . 2>&1 \
	    | awk '/ /{ print; next } ++n % 100 == 0 { print n " packages"; fflush() }'

.PHONY: kube
kube: setup $(APISERVER) ## manifests and `remora check` with a real Kubernetes API server, built on first use
	$(PYTEST) tests/kube $(ARGS)

# --- the same tests on a build that finds memory errors and undefined behaviour ------------------

ASAN := build/asan
ASAN_TESTS ?= tests/wire tests/scenarios tests/unit/fast tests/fuzz
SETUPTOOLS := $(PY) -W ignore -c 'import setuptools; setuptools.setup()' --quiet

# After the release build, whose C it compiles again with other flags.
$(ASAN)/.built: .ci/cc-sanitize $(VENV)/.built
	rm -rf $(ASAN)
	CC=$(CURDIR)/.ci/cc-sanitize $(SETUPTOOLS) build_ext \
	    --build-temp build/asan-work --build-lib $(ASAN)
	@touch $@

# PYTHONSAFEPATH keeps the current folder, and the release build in it, off the import path.
.PHONY: asan asan-build
asan-build: $(ASAN)/.built
asan: setup packages-test asan-build ## the tests of the data plane under ASan and UBSan
	find $(ASAN) -name '*.py' -delete
	$(SETUPTOOLS) build_py --build-lib $(ASAN)
	PYTHONPATH=$(CURDIR)/$(ASAN) PYTHONSAFEPATH=1 REMORA_EXPECT_ABI=debug \
	    .ci/sanitized $(ASAN)/reports $(PYTEST) $(IN_PARALLEL) $(ASAN_TESTS) $(ARGS)

.PHONY: fuzz
fuzz: build ## damaged input for a minute each, sanitized (make fuzz ARGS='--seconds 600'); tests run a smoke
	$(PY) -m tests.fuzz $(ARGS)

# --- the demo and the benchmark ----------------------------------------------------------------

.PHONY: demo bench
demo: setup ## two pods and two sidecars: watch real requests being redirected, told by both, drained
	$(PY) -m deploy.demo $(ARGS)

bench: packages-bench build $(VENV)/.bench ## everything beside HAProxy, nginx and Envoy, two hours (ARGS=--quick: a quarter of one)
	$(PY) -m bench $(ARGS)

.PHONY: figures
figures: build ## figures of README.md, pages of bench/ and pictures, from the committed reports
	$(PY) -m bench.charts
	$(PY) -m bench.figures --write

.PHONY: profile
profile: packages-bench build ## where the worker's time goes: a flame graph, functions, system calls a request (root)
	$(PY) -m bench.flame $(ARGS)

.PHONY: gate
gate: packages-bench build ## is a request dearer than at BASE? by instructions (make gate ARGS=HEAD~5)
	$(PY) -m bench.gate $(ARGS)

# --- the chart ---------------------------------------------------------------------------------

.PHONY: helm manifests kind
helm: $(VENV)/.dependencies ## Helm into .venv/bin, built by Go: for `make manifests` and the tests of the chart
	@.ci/helm $(VENV)/bin

manifests: helm ## what is made of deploy/chart: plain manifests, the table of its values, renderings for tests
	$(PY) -m deploy.rendering $(VENV)/bin/helm

kind: setup ## a cluster of kind with remora in it, and the end-to-end tests (ARGS='--help'); needs Docker and kind
	deploy/kind/run $(ARGS)

# --- the image -----------------------------------------------------------------------------------

# The rest of the words that deploy/image knows: make image ARGS='lock', ARGS='measure'.
.PHONY: image image-test
image-test: setup packages-image ## builds the image (minutes, once) and runs it as a pod does (root)
	$(PY) -m pytest -m image tests/image $(ARGS)

image: packages-image build ## container image, its bill of materials and their sizes; no Docker, no registry (root)
	$(PY) -m deploy.image $(ARGS)

# --- the rest ----------------------------------------------------------------------------------

.PHONY: clean
clean: ## remove what was built, .venv included
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	rm -f proxy/_fastpath.c proxy/_fastpath.html proxy/_fastpath*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
