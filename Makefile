# Each target prepares its own virtual environment (.venv), so that it works right after a clone.
#   make PYTHON=python3.13 test       another Python
#   make test ARGS="-k fence -n 0"    further arguments for the command
export PYTHON
CLUSTER = PYTHONPATH=tests .venv/bin/python -m cluster.harness
.DEFAULT_GOAL := help
.PHONY: help demo test check bench bars soak cluster cluster-up cluster-down proto publish clean local dev

help:
	@echo "make demo                         see it run: a local PostgreSQL, workers, some hundred tasks; a minute or two the first time"
	@echo "make test [ARGS=...]              run the tests"
	@echo "make check                        lint, formatting, types and import contracts"
	@echo "make cluster [ARGS=...]           run the tests that need Kubernetes: on KUBECONFIG, else on one of their own, started if need be (root)"
	@echo "make cluster-up [KWOK=1 KEDA=1]   start that cluster; make cluster-down stops it and leaves nothing"
	@echo "make bench [ARGS=...]             tasks a second on this machine"
	@echo "make bars [ROOM=pods] [ONLY=WORD] what is promised, measured: one line a bar; JSON=1"
	@echo "make soak [MINUTES=30]            mixed work while workers and the server are made to fail, and a balance sheet"
	@echo "make publish REGISTRY=... [TAG=...]  build and push the image, and pin its digest in manifests/overlays/production"
	@echo "make proto                        make the code of KEDA's protocol anew"
	@echo "make clean                        remove .venv and caches"

demo: local
	@.venv/bin/halfstep demo $(ARGS)

test: dev
	@.venv/bin/python -m pytest $(ARGS)

cluster: dev
	@$(CLUSTER) test $(ARGS)

cluster-up: dev
	@$(CLUSTER) up $(if $(KWOK),--kwok) $(if $(KEDA),--keda)

cluster-down: dev
	@$(CLUSTER) down

check: dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: local
	@.venv/bin/halfstep bench drain --tasks 20000 $(ARGS)

bars: dev
	@PYTHONPATH=tests .venv/bin/python -m benchmarks.bars $(if $(ROOM),--room $(ROOM)) $(if $(ONLY),--only "$(ONLY)") $(if $(JSON),--json)

soak: dev
	@PYTHONPATH=tests .venv/bin/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

publish:
	@manifests/publish $(REGISTRY) $(TAG)

proto:
	@scaler/halfstep_scaler/proto/generate

clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

local dev:
	@.ci/venv $@
