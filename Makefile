# make build    installs missing packages, builds ./build/sluice        make demo [DATA=train.txt]   see scripts/demo.sh
# make test     build, then every test                                  make bench                   docs/benchmarks.md
# make fast     build, then the fast tests                              make sanitize                fast tests, sanitized
# make fuzz     parsers under libFuzzer, FUZZ_RUNS inputs each          make mutants                 tests of the tests
# make format   rewrites sources by .clang-format                       make lint                    checks both
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_RUNS ?= 20000
DATA ?=
BENCH ?=
SOURCES = $(shell find src benchmarks examples -name '*.h' -o -name '*.cc')
CTEST = ctest --test-dir build --output-on-failure --parallel $(JOBS)

.PHONY: build test fast demo bench bench-peers sanitize fuzz mutants format lint clean packages configure python-env
build: packages configure
	cmake --build build --parallel $(JOBS)

packages:
	@scripts/install_packages.sh build test

configure: packages
	@cmake --preset default --log-level=WARNING

python-env: packages
	@scripts/python_env.sh

test: build python-env
	$(CTEST)

fast: build
	$(CTEST) --label-regex '^fast$$'

demo: build
	DATA='$(DATA)' scripts/demo.sh

bench: build
	python3 scripts/bench.py $(BENCH)

# Peers of `make bench`; FBGEMM without its dependencies, which would bring a GPU build.
bench-peers:
	python3 -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --requirement benchmarks/peers/requirements.txt
	.venv-peers/bin/pip install --quiet --no-deps fbgemm-gpu-cpu==1.9.0

sanitize: sanitize-address sanitize-thread
sanitize-%: packages
	@cmake --preset $* --log-level=WARNING
	cmake --build --preset $* --parallel $(JOBS)
	ctest --preset $* --parallel $(JOBS)

fuzz:
	@scripts/install_packages.sh build fuzz
	@cmake --preset fuzz --log-level=WARNING
	cmake --build --preset fuzz --parallel $(JOBS)
	scripts/fuzz.sh build-fuzz $(FUZZ_RUNS)

mutants: build
	python3 tests/mutants/run.py

format:
	@scripts/install_packages.sh lint
	clang-format -i $(SOURCES)

lint: build
	@scripts/install_packages.sh lint
	clang-format --dry-run --Werror $(SOURCES)
	clang-tidy --quiet -p build $(filter-out %_kernels.cc,$(filter src/%.cc,$(SOURCES)))

clean:
	rm -rf build build-address build-thread build-fuzz
