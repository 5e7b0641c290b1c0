# One command a purpose; each sets the environment up first if it is missing or older than its lock.
#   make study                 the default study, then its report      STUDY=digits_unet for another one
#   make study TORCH=cuda      the same with torch's CUDA build        PYTHON=/path/to/python3.11, CORES=4

TORCH ?= cpu
STUDY ?= digits
CORES ?= all
PYTHON ?= python3.11

VENV := .venv
STAMP := $(VENV)/attribution-lock
LOCK := envs/$(TORCH).lock.txt
PEERS := .peers/attribution-lock
CRATE := .crate/attribution-lock
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true

ifeq ($(wildcard $(LOCK)),)
  $(error TORCH=$(TORCH): there is no $(LOCK); use TORCH=cpu or TORCH=cuda)
endif
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(TORCH))
  .PHONY: $(STAMP)
endif

.PHONY: help env study smoke tiny test test-slurm audit bench lint locks clean-venv
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

env: $(STAMP)  ## set up .venv from the lock (TORCH=cpu or cuda)

study: env  ## run the study (STUDY=digits) and write results/<study>/report.html
	$(BIN)/snakemake --cores $(CORES) $(STUDY)
	$(BIN)/snakemake --report results/$(STUDY)/report.html $(STUDY)

smoke:  ## the whole workflow on a tiny study, in minutes
	@$(MAKE) --no-print-directory study STUDY=smoke

tiny: env  ## the GPU studies cut down, on synthetic archives, in results/<study>_tiny
	$(BIN)/snakemake --cores $(CORES) --config scale=tiny

test: env $(PEERS) $(CRATE)  ## run all tests but those on a Slurm cluster, in two processes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder --ignore=tests/slurm

test-slurm: env  ## run a study and its faults on a real Slurm on this host (installed by root on Debian, else skipped)
	@.ci/slurm
	$(BIN)/pytest -rs -s tests/slurm

audit:  ## hold everything published against its receipts (needs Python alone)
	@PYTHONPATH=src $(PYTHON) -m attribution audit

bench: env $(PEERS)  ## time gradients and curvature, beside other libraries too (results/published/benchmarks)
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/mlp.py

lint: env  ## check style, formatting and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/python .ci/snakemake_lint.py

locks: env  ## resolve envs/requirements.in anew into both lock files
	$(BIN)/python envs/lock.py cpu > envs/.lock.part && mv envs/.lock.part envs/cpu.lock.txt
	$(BIN)/python envs/lock.py cuda > envs/.lock.part && mv envs/.lock.part envs/cuda.lock.txt

clean-venv:  ## remove .venv, .peers and .crate
	rm -rf $(VENV) .peers .peers.part .crate

# The stamp goes first and comes last, so an interrupted installation never looks complete. A finished environment of
# another lock is emptied: packages that the new lock does not name must not stay behind.
$(STAMP): $(LOCK)
	@test ! -L $(VENV) || { echo "$(VENV) is a link to an environment of another folder, which is not touched: make it there" >&2; exit 1; }
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 with venv is needed ($(PYTHON) is not); install it or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) from $(LOCK): about 2 GB, some minutes"
	$(PYTHON) -m venv $(if $(wildcard $(STAMP)),--clear) $(VENV)
	@rm -f $(STAMP)
	$(PIP) install -r $(LOCK)
	$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import torch, sys; sys.exit("$(TORCH)" == "cuda" and torch.version.cuda is None)' || { \
	  echo "TORCH=cuda, but pip chose a CPU build of torch: take the CPU wheels out of its find-links or extra index" >&2; exit 1; }
	@echo $(TORCH) > $(STAMP)

$(PEERS): envs/peers.lock.txt | env
	@rm -rf .peers .peers.part
	$(PIP) install --no-deps --target .peers.part -r $<
	@touch .peers.part/attribution-lock
	@mv .peers.part .peers

$(CRATE): envs/crate.lock.txt | env
	@rm -rf .crate
	@$(PYTHON) -m venv .crate
	.crate/bin/python -m pip --quiet --disable-pip-version-check install -r $<
	@touch $@
