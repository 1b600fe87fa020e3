# Two commands matter: `make run` (set up, serve, answer) and `make test`. `make help` lists the rest.
SHELL := /bin/sh
JOBS ?= $(shell nproc)
MODEL ?=
ONCE ?= 0
RELEASE := build/release
VENV := .venv
# Clones of this tree share ccache's objects: paths below the tree are hashed relative to it.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

.DEFAULT_GOAL := help
.PHONY: help run build test test-build check asan tsan fuzz sim exactness-model exactness-controls quality proof bench format clean install

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s'|'

run: build $(if $(MODEL),,models) ## install packages, fetch the model, build, serve, answer (ONCE=1, MODEL=path)
	@MODEL="$(MODEL)" ONCE="$(ONCE)" scripts/run.sh

.PHONY: models deps deps-test fetch-gemma quality-gemma
deps:
	@docker/deps.sh install build
deps-test: deps
	@docker/deps.sh install test
models:
	@scripts/fetch_model.sh
fetch-gemma: deps ## Gemma 3 270M (Q4_K_M, 241 MiB; Google's terms) into models/: make run MODEL=models/gemma-3-270m-q4_k_m.gguf
	@scripts/fetch_model.sh gemma3

build: deps ## build/release/bin/{stetd,stet-proxy,stet}
	@test -f $(RELEASE)/build.ninja || cmake --preset release -DSTET_BUILD_TESTS=OFF -DSTET_BUILD_BENCHMARKS=OFF > /dev/null
	@cmake --build $(RELEASE) -j $(JOBS) --target stetd stet-proxy stet

test-build: deps-test
	@cmake --preset release -DSTET_BUILD_TESTS=ON -DSTET_BUILD_BENCHMARKS=OFF > /dev/null
	@cmake --build $(RELEASE) -j $(JOBS)

$(VENV)/.stamp: tests/requirements.txt | deps-test
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

test: test-build models $(VENV)/.stamp ## everything that guards a change, at most 5 minutes after the build
	@scripts/test.sh $(RELEASE) $(VENV)/bin/python -LE slow

# Without descriptors the sanitizer itself cannot open the pipe with which it looks at memory, and calls every object bad.
# The planted faults of exactness.controls and sim run in make test, the right ways here, of each architecture one model or two:
# kernels_test has every kernel of the others.
ASAN_LEFT_OUT := DescriptorsRunningOut|exactness\.controls|PlantedFault|NoSettingShows.*(gemma3_q8_0|llama_f16_bias|llama_q4_0_d64|llama_q4_k|qwen)
asan: deps-test models ## the tests, but for ASAN_LEFT_OUT, under the address and undefined-behaviour sanitizers
	@cmake --preset asan > /dev/null && cmake --build build/asan -j $(JOBS)
	@ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1 scripts/test.sh build/asan "" -LE slow -E '$(ASAN_LEFT_OUT)'

# Left out: steps over megabytes of text take minutes here, on one thread.
TSAN_LEFT_OUT := TemplateLimits|AMegabyteWord
TSAN_TESTS := base_test engine_test kv_test sched_test text_test executor_test
tsan: deps-test models ## threads of engine, kv, sched, text, executor under the thread sanitizer
	@cmake --preset tsan > /dev/null && cmake --build build/tsan -j $(JOBS) --target $(TSAN_TESTS)
	@scripts/test.sh build/tsan "" -R '^(base|engine|kv|sched|text|executor)\.' -E '$(TSAN_LEFT_OUT)'

exactness-model: test-build models ## the exactness suite on SmolLM2 (two minutes; the tiny models are part of make test)
	@scripts/test.sh $(RELEASE) "" -R '^exactness_model\.' --verbose

FUZZ_SECONDS ?= 60
fuzz: deps ## all fuzz targets at once for FUZZ_SECONDS (60)
	@docker/deps.sh install test check
	@scripts/fuzz.sh $(FUZZ_SECONDS) $(JOBS)

SEEDS ?= 20000
SEED ?= 1
sim: test-build ## SEEDS (20000) simulated worlds from SEED (1): engine, scheduler and KV cache on virtual time
	@$(RELEASE)/bin/stet_sim_check --seeds $(SEEDS) --first $(SEED)

.PHONY: sim-long
sim-long: ## one million simulated worlds (some twenty minutes on two idle cores)
	@$(MAKE) sim SEEDS=1000000

.PHONY: experiments
DATA ?=
experiments: deps ## policies x traces x loads on a simulated machine into benchmarks/results/scheduler (DATA=folder of the trace slices)
	@test -f $(RELEASE)/build.ninja || cmake --preset release -DSTET_BUILD_TESTS=OFF -DSTET_BUILD_BENCHMARKS=OFF > /dev/null
	@cmake --build $(RELEASE) -j $(JOBS) --target stet-sim
	@$(RELEASE)/bin/stet-sim experiments --data "$(DATA)" --out benchmarks/results/scheduler

exactness-controls: test-build ## the table of planted wrong orders and what the exactness suite says of each
	@$(RELEASE)/bin/exactness_controls

quality: test-build models $(VENV)/.stamp ## log-probabilities against FP32 arithmetic on the dequantised weights
	@$(VENV)/bin/python tests/quality/quality.py --score $(RELEASE)/bin/stet_score --model models/SmolLM2-135M-Instruct.Q4_1.gguf --max-dlogp 0.0754 --min-top1 95.0

quality-gemma: test-build fetch-gemma $(VENV)/.stamp ## the same for Gemma 3 270M (limits: a tenth above what was measured)
	@$(VENV)/bin/python tests/quality/quality.py --score $(RELEASE)/bin/stet_score --model models/gemma-3-270m-q4_k_m.gguf --max-dlogp 0.0605 --min-top1 95.5

proof: ## the bare machine: Debian 12 by debootstrap, a clone, make run, make test; baseline CPU; image tree; full input grids (root)
	@docker/deps.sh install build test proof
	@scripts/proof.sh

bench: deps-test models ## kernels and steps against the limits of this machine
	@cmake --preset release -DSTET_BUILD_BENCHMARKS=ON > /dev/null && cmake --build $(RELEASE) -j $(JOBS) --target kernel_bench step_bench
	@scripts/bench.sh $(RELEASE)

check: deps-test ## formatting, clang-tidy, tidy rules
	@docker/deps.sh install check
	@scripts/check.sh

format: ## formats every source
	@git ls-files 'src/*.h' 'src/*.cc' 'include/*.h' 'kernels/*.h' 'kernels/*.cc' 'tests/*.h' 'tests/*.cc' 'benchmarks/*.cc' | xargs clang-format-14 -i

install: build ## into DESTDIR (default: the system): bin, configs, LICENSE
	@cmake --install $(RELEASE) --prefix /usr

clean: ## removes build folders (keeps models and .venv)
	@rm -rf build
