# Everything a person does here. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help run test test-gpu lint format schemas bench report readme plan doctor setup clean clean-venv

# The first Python that is 3.11, 3.12 or 3.13 and can make environments; override with PYTHON=...
CANDIDATES := $(wildcard .venv/bin/python) python3 python3.13 python3.12 python3.11
RIGHT := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
ifndef PYTHON
PYTHON := $(shell for p in $(CANDIDATES); do $$p -c '$(RIGHT)' >/dev/null 2>&1 && echo $$p && break; done)
endif

# One thread in each worker: two workers of pytest, or the threads of a run, fill the cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
ARGS ?=

help: ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
	@echo 'ARGS="..." is handed on, as in: make run ARGS="--scale smoke"'

run: setup ## run the studies in config/config.yaml, what is missing or outdated only
	@.venv/bin/lowdim run $(ARGS)

test: setup ## run the tests (no network, no GPU needed; under ten minutes on two cores)
	@$(ONE_THREAD) .venv/bin/python -m pytest -q -n 2 --dist loadfile $(ARGS)

test-gpu: setup ## run what needs a GPU, and once more under compute-sanitizer where there is one
	@$(ONE_THREAD) .venv/bin/python -m pytest -q -m gpu tests/kernels $(ARGS)
	@if command -v compute-sanitizer >/dev/null; then \
	  for tool in memcheck racecheck synccheck; do \
	    compute-sanitizer --tool $$tool --error-exitcode 1 --target-processes all \
	      .venv/bin/python -m pytest -q -m gpu tests/kernels/cuda -k "value_and_gradients or small_element" || exit 1; \
	  done; \
	else echo 'compute-sanitizer is not installed: left out'; fi

lint: setup ## check style, types, formatting of the workflow and direction of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/lint-imports

format: setup ## format Python and workflow files
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt Snakefile workflow

schemas: setup ## write workflow/schemas again after a change to the configuration models
	@.venv/bin/python workflow/schemas/write.py

bench: setup ## measure kernels and studies against what else there is
	@$(PYTHON) workflow/environment.py --extra bench
	@.venv/bin/python benchmarks/kernels.py $(ARGS)
	@for file in benchmarks/bench_*.py; do echo "== $$file"; .venv/bin/python "$$file" || exit 1; done

report: setup ## write results/report.html again from the results that are there
	@.venv/bin/lowdim report $(ARGS)

readme: setup ## renew the README's tables and picture from results/
	@.venv/bin/python workflow/readme.py

plan: setup ## say what `make run` would do and how long it takes
	@.venv/bin/lowdim plan $(ARGS)

doctor: setup ## say what was found: versions, devices, backends, data, caches
	@.venv/bin/lowdim doctor $(ARGS)

setup: ## set .venv up if it is missing or stale
ifeq ($(PYTHON),)
	@echo 'No Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian: python3 and' >&2
	@echo 'python3-venv) or name one: make PYTHON=/path/to/python3.12' >&2
	@exit 2
else
	@$(PYTHON) workflow/environment.py
endif

clean: ## delete results and what tools left; .venv stays
	@rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	@find results -mindepth 1 -not -name README.md -delete

clean-venv: ## delete .venv; the next make sets it up again
	@rm -rf .venv .venv.lock
