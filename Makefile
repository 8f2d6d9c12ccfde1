# Every target makes what it needs. A fresh machine needs Python 3.11 or newer, make and a package
# registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS ?= dev

LONG := $(addprefix reproduce-, generators family classifiers cifar10 common-5k vgg elsewhere)

.PHONY: install demo test test-cluster test-gpu crash crash-cluster check serve \
	bench bench-serve fuzz clean reproduce reproduce-common $(LONG)

install: $(READY)         ## the environment alone; EXTRAS=s3 makes one without test tools

demo: $(READY)            ## sweep, Parquet, report, promotion, a served generation; in demo/
	$(BIN)/amnesia demo

test: $(READY)            ## the whole suite: real digits, real Ray, real HTTP, a browser if any
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder -m "not cluster"

test-cluster: $(READY)    ## nodes that die and join, SLURM, autoscaling: minutes each, one by one
	$(BIN)/python -m pytest -m cluster

test-gpu: $(READY)        ## what needs a CUDA device; skipped where there is none
	$(BIN)/python -m pytest tests/gpu

crash: $(READY)           ## 300 random deaths of drivers, workers and Rays; about 2 hours
	$(BIN)/python -m tests.e2e.crash

crash-cluster: $(READY)   ## 100 of nodes, drivers, workers of a cluster; on a disk, in a bucket
	$(BIN)/python -m tests.e2e.crash_cluster --folder crash-disk
	$(BIN)/python -m tests.e2e.crash_cluster --folder crash-bucket --results s3

check: $(READY)           ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: $(READY)           ## what `make demo` promoted, on http://127.0.0.1:8000
	$(BIN)/amnesia serve --gallery demo/gallery

bench: $(READY)           ## ratios measured side by side; writes bench.json
	$(BIN)/python -m tests.benchmarks

bench-serve: $(READY)     ## the service beside FastAPI and uvicorn alone; writes bench-serve.json
	$(BIN)/python -m tests.benchmarks.serve

fuzz: $(READY)            ## 10,000 odd requests instead of the 1,500 of `make test`
	FUZZ=10000 $(BIN)/python -m pytest -n 0 tests/serve/test_fuzz.py

# The long measurements behind the tables of docs/results.md: hours on two cores, resumable, on the
# Ray at $$RAY_ADDRESS, else on one of their own. SET='--set seeds=[0]' makes less of them;
# --set resources.gpu=0.2 shares out a GPU.
reproduce: $(LONG)

reproduce-generators: $(READY)   ## full MNIST, ten digits, three seeds, under attack
	$(BIN)/amnesia run sa-robust --results reproduce/generators --store reproduce/store $(SET)
	$(BIN)/amnesia report reproduce/generators -o reproduce/generators.html

FAMILY := sa-paper sa-sequential sa-multi sa-expanding sa-2d sa-grey
reproduce-family: $(READY)       ## full MNIST: the paper's lambdas, rounds, other networks
	set -e; for spec in $(FAMILY); do \
	  $(BIN)/amnesia run $$spec --results reproduce/family --store reproduce/store $(SET); done

reproduce-classifiers: $(READY)  ## digits: all methods, searched and not, three seeds
	$(BIN)/amnesia run ta-digits --results reproduce/classifiers --store reproduce/store $(SET)
	$(BIN)/amnesia run baselines-digits --results reproduce/classifiers --store reproduce/store $(SET)
	$(BIN)/amnesia run tuned-digits --results reproduce/classifiers --store reproduce/store $(SET)
	$(BIN)/amnesia report reproduce/classifiers -o reproduce/classifiers.html

reproduce-cifar10: $(READY)      ## a tenth of CIFAR-10: three networks, all methods
	$(BIN)/amnesia run cifar10-5k --results reproduce/cifar10 --store reproduce/store $(SET)
	$(BIN)/amnesia run ta-cifar10-5k --results reproduce/cifar10 --store reproduce/store $(SET)
	$(BIN)/amnesia run tuned-cifar10-5k --results reproduce/cifar10 --store reproduce/store $(SET)
	$(BIN)/amnesia report reproduce/cifar10 -o reproduce/cifar10.html

# forget / retain / test / MIA / gap to the oracle / seconds, alone and with the search
COMMON := train_forget_accuracy train_retain_accuracy test_forget_accuracy test_retain_accuracy \
	mia_efficacy average_gap tow unlearn_s total_s
reproduce-common: $(READY)       ## all of CIFAR-10, ResNet-18 trained out: all methods; a GPU
	$(BIN)/amnesia run common-cifar10 --results reproduce/common --store reproduce/store $(SET)
	for sweep in common-cifar10 common-cifar10-random; do \
	  $(BIN)/amnesia show reproduce/common --sweep $$sweep --claims $(COMMON); done

reproduce-common-5k: $(READY)    ## the same at a tenth of the size, for two cores
	$(BIN)/amnesia run common-cifar10-5k --results reproduce/common --store reproduce/store $(SET)
	for sweep in common-cifar10-5k common-cifar10-5k-random; do \
	  $(BIN)/amnesia show reproduce/common --sweep $$sweep --claims $(COMMON); done

reproduce-vgg: $(READY)          ## all of CIFAR-10: VGG-11, eight epochs, one seed
	$(BIN)/amnesia run vgg-cifar10 --results reproduce/cifar10 --store reproduce/store $(SET)

ELSEWHERE := reproduce/captum/captum/insights/attr_vis/models/cifar_torchvision.pt
reproduce-elsewhere: $(READY)    ## all of CIFAR-10: somebody else's network and weights
	$(BIN)/python -m pip download --quiet --no-deps --dest reproduce captum==0.5.0
	$(BIN)/python -m zipfile -e reproduce/captum-0.5.0-py3-none-any.whl reproduce/captum
	PYTHONPATH=tests/elsewhere $(BIN)/amnesia run tests/elsewhere/elsewhere.yaml \
	  --set weights=$(ELSEWHERE) --results reproduce/cifar10 --store reproduce/store $(SET)

clean:                    ## environment, demo/, caches; no other results, store or gallery
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip check
	touch $@
