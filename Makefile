# make demo | test | test-fast | check | docs | bench | fuzz MINUTES=n | gpu-plan IMAGES=...: each makes .venv itself if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast check bench docs fuzz lock gpu-plan wheel wheels models-archive clean

# make LOCKED=1 ... installs only wheels whose hashes are in requirements.lock.
LOCKED ?=
MINUTES ?= 5
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(STAMP): pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(if $(LOCKED),$(PIP) --require-hashes --no-deps -r requirements.lock,$(PIP) -c constraints.txt -e '.[dev]')
	$(if $(LOCKED),$(PIP) --no-deps --no-build-isolation -e .)
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m decant_bench.demo $(if $(DEMO_IMAGES),--images "$(DEMO_IMAGES)") --out demo

# One process per core, a file of tests in one process: session fixtures are made once in each.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --benchmark-disable

test: $(STAMP)
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m 'not slow'

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) -s -C runtime/libdcn analyze PYTHON_INCLUDE=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')

bench: $(STAMP)
	$(BIN)/python -m pytest bench -q --benchmark-only

docs: $(STAMP)
	$(BIN)/python -m zensical build --clean --strict

# Skips what needs atheris (extra `fuzz`) or clang where that is not there, and says so.
fuzz: $(STAMP)
	-$(PIP) -c constraints.txt atheris
	$(BIN)/python tests/attacks/fuzz/fuzz.py --seconds $$(($(MINUTES) * 60))

lock: $(STAMP)
	mkdir -p build
	$(PIP) --dry-run --ignore-installed --report build/report.json -c constraints.txt '.[dev,fuzz,docs]' 'setuptools>=77'
	$(BIN)/python .ci/lock.py build/report.json

wheel: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

# Prepares and checks a training in two short GPU jobs without network; IMAGES: folders or packed files.
gpu-plan: $(STAMP)
	$(BIN)/python -m decant_train.gpu.prepare --images $(IMAGES)

# Wheels for Linux on x86-64 and on 64-bit ARM, compiled by zig and checked.
wheels: $(STAMP)
	$(PIP) ziglang==0.17.1
	$(BIN)/python .ci/wheels.py

# The package of earlier decoders (docs/compatibility.md); needs the whole history.
models-archive: $(STAMP)
	$(BIN)/python -m decant_export.earlier_models --out dist

# The player for browsers in runtime/web/dist: docs/web.md. MODELS="nano lite" puts several models into it.
.PHONY: web web-demo
web: $(STAMP)
	$(PIP) ziglang==0.17.1
	$(MAKE) -C runtime/web PYTHON=$(abspath $(BIN)/python)

web-demo: web
	$(MAKE) -C runtime/web PYTHON=$(abspath $(BIN)/python) demo
	$(BIN)/python runtime/web/tools/serve.py runtime/web/dist

clean:
	rm -rf build dist demo site .pytest_cache .mypy_cache .ruff_cache
