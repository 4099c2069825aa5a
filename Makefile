# Each target builds the environment it needs: a clone, Python 3.11 or newer, make and
# a package index are enough. A second run installs nothing unless setup.py changed.

ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
endif

# A step on a CPU takes the same large blocks again and again. glibc gives each back to
# the kernel and gets it anew page by page, a fourth of the time, unless it is told to
# keep them; it has to know before the first thread is there.
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 2147483647
export MALLOC_ARENA_MAX ?= 1

VENV ?= .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check
LIBTPU := $(RUN) -c "from importlib.metadata import requires; \
	print(*(r.split(';')[0] for r in requires('jax') if r.startswith('libtpu')))"
# The version whose wheel for CPUs is known to do; newer ones of PyPI bring CUDA along.
TORCH ?= torch==2.13.0
DEMO ?= runs/demo
WORKERS ?= 2
PYTEST ?=
BENCH ?=
CASES ?= 100000
NOTEBOOKS ?=
# requirements/py311, say: exactly these versions, by hash. Empty: the newest that fit.
LOCK ?=
LOCKED := $(PIP) --no-deps --require-hashes
TOOLS := .venv-tools

.PHONY: help demo test test-oldest test-parity fuzz bench docs notebooks \
	lint lock audit clean

help:
	@echo "make demo    pretrain, extend eightfold, measure; writes $(DEMO)/report.html"
	@echo "make test    run the tests (PYTEST='-k rotary' passes options on); pages are"
	@echo "             opened in Chromium where there is one (apt-get install chromium)"
	@echo "make test-parity  compare with transformers (installs it and torch, 1.2 GB)"
	@echo "make fuzz    give the readers of files 100,000 broken ones (CASES=...)"
	@echo "make bench   time attention beside its peers (BENCH='--full' goes to 131072)"
	@echo "make docs    build the site into build/site, every warning an error"
	@echo "make notebooks  run colab/*.ipynb, keep their pictures (NOTEBOOKS='1_see*')"
	@echo "make lint    run ruff, and mypy over rope_lab"
	@echo "make lock    renew requirements/: what CI installs, by version and hash"
	@echo "make audit   look up known vulnerabilities of what is locked"
	@echo "make clean   remove environments and caches; keeps runs/"
	@echo "PYTHON=python3.12 VENV=.venv312 choose another interpreter and environment"

demo: $(VENV)/.has-demo
	$(RUN) -m experiments.demo --config=configs/demo.py --workdir=$(DEMO)
	@echo "Open $(DEMO)/report.html; the numbers are in $(DEMO)/results.json"

test: $(VENV)/.has-test
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal -m 'not parity' $(PYTEST)

# Beside transformers, which is not needed for anything else.
test-parity: $(VENV)/.has-parity
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal -m parity tests/interop

# The lower bounds of setup.py are claims: this installs exactly those versions.
test-oldest:
	mkdir -p .venv-oldest
	grep -oE '"[A-Za-z_-]+>=[0-9.]+"' setup.py | tr -d '"' | sed 's/>=/==/' \
		> .venv-oldest/oldest.txt
	$(MAKE) test VENV=.venv-oldest PIP_CONSTRAINTS='-c .venv-oldest/oldest.txt'

fuzz: $(VENV)/.has-test
	ROPE_LAB_CASES=$(CASES) $(RUN) -m pytest tests/test_parsers*.py

bench: $(VENV)/.has-core
	$(RUN) -m benchmarks.attention $(BENCH)

# Warnings are errors; then every link inside the site is followed.
docs: $(VENV)/.has-docs
	rm -rf build/site
	JAX_PLATFORMS=cpu $(RUN) -m sphinx -W --keep-going -q -E -b html docs build/site
	$(RUN) docs/check_links.py build/site
	@echo "Open build/site/index.html"

# Each takes a minute or two; first the .ipynb files are made anew from the plain text.
notebooks: $(VENV)/.has-test
	$(RUN) -m colab.execute $(NOTEBOOKS)

lint: $(VENV)/.has-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

lock: $(TOOLS)/.has-tools
	for version in 3.11 3.12; do \
		sh requirements/lock.sh $(TOOLS)/bin/uv $$version || exit 1; done

audit: $(TOOLS)/.has-tools
	for file in requirements/py3??.txt requirements/*-parity.txt requirements/*-libtpu.txt; do \
		$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r $$file || exit 1; done

clean:
	rm -rf .venv .venv-oldest $(TOOLS) .venv-py3* build dist *.egg-info
	rm -rf .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp, not bin/python: an interrupted `venv` leaves an interpreter without pip.
$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with" \
		"PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.has-core: setup.py $(VENV)/.created
	@echo "Installing rope_lab into $(VENV)"
	$(PIP) $(PIP_CONSTRAINTS) -e .
	@touch $@

$(VENV)/.has-demo: setup.py $(VENV)/.created
	@echo "Installing rope_lab and the demo's corpus into $(VENV) (about 1 GB)"
	$(PIP) $(PIP_CONSTRAINTS) -e '.[demo]'
	@touch $@ $(VENV)/.has-core

ifeq ($(LOCK),)
$(VENV)/.has-test: setup.py $(VENV)/.created
	@echo "Installing rope_lab, its corpus and the test tools into $(VENV) (about 1.7 GB)"
	$(PIP) $(PIP_CONSTRAINTS) -e '.[dev,demo]'
	@# The compiler for TPUs, beside the environment: inside, JAX would look for a TPU.
	@test "$$(uname)" != Linux || { $(LIBTPU) \
		| xargs $(PIP) --no-deps --upgrade --target $(VENV)/libtpu; }
	@touch $@ $(VENV)/.has-core $(VENV)/.has-demo

$(VENV)/.has-parity: $(VENV)/.has-test
	@echo "Installing transformers and $(TORCH) into $(VENV) (about 1.2 GB)"
	$(PIP) $(PIP_CONSTRAINTS) '$(TORCH)' -e '.[dev,demo,parity]'
	@touch $@

$(VENV)/.has-docs: setup.py $(VENV)/.has-core
	@echo "Installing what builds the site into $(VENV)"
	$(PIP) $(PIP_CONSTRAINTS) -e '.[docs]'
	@touch $@
else
$(VENV)/.has-test: setup.py $(LOCK).txt $(VENV)/.created
	@echo "Installing what $(LOCK).txt names into $(VENV) (about 1.7 GB)"
	$(LOCKED) -r $(LOCK)-build.txt
	$(LOCKED) --no-build-isolation -r $(LOCK).txt
	$(LOCKED) --upgrade --target $(VENV)/libtpu -r $(LOCK)-libtpu.txt
	$(PIP) --no-deps --no-build-isolation -e .
	$(RUN) -m pip check
	@touch $@ $(VENV)/.has-core $(VENV)/.has-demo $(VENV)/.has-docs

$(VENV)/.has-parity: $(VENV)/.has-test $(LOCK)-parity.txt
	@echo "Installing transformers and $(TORCH) into $(VENV) (about 1.2 GB)"
	$(LOCKED) -r $(LOCK)-parity.txt
	$(PIP) '$(TORCH)'
	$(RUN) -m pip check
	@touch $@

$(VENV)/.has-docs: $(VENV)/.has-test
	@touch $@
endif

$(TOOLS)/.has-tools:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv pip-audit
	@touch $@
