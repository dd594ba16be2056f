# Development. `make develop` builds the native modules into the source tree, so that tests and
# scripts run from it; AXJAX_CUDA=ON builds the CUDA one too.
PYTHON ?= python3
AXJAX_CUDA ?= OFF
BUILD := build/develop-$(shell $(PYTHON) -c 'import sys; print("%d%d" % sys.version_info[:2])')
CPP := $(shell git ls-files '*.h' '*.cc' '*.cu' '*.cuh')

.PHONY: develop format lint test test-cpp test-cpp-arm

develop:
	cmake -S . -B $(BUILD) -G Ninja -DAXJAX_CUDA=$(AXJAX_CUDA) \
	  -DPython_EXECUTABLE=$$($(PYTHON) -c 'import sys; print(sys.executable)')
	cmake --build $(BUILD)
	for module in $(BUILD)/_c*.so; do \
	  cp $$module axjax/new.tmp && mv axjax/new.tmp axjax/$${module##*/}; \
	done  # moved, since a running process may have the old one mapped
	ln -sfn ../luts axjax/luts

format:
	ruff format .
	ruff check --fix .
	clang-format -i $(CPP)

lint:
	ruff format --check .
	ruff check .
	mypy
	clang-format --dry-run --Werror $(CPP)

test:
	$(PYTHON) -m pytest

# The CPU kernels by themselves: on 500 random shapes, and on a few under sanitizers, which
# make them 20 times slower.
test-cpp: test-cpp-none test-cpp-address,undefined test-cpp-thread
test-cpp-%:
	cmake -S tests/cpp -B build/test-cpp-$* -G Ninja -DAXJAX_SANITIZE=$(patsubst none,,$*) \
	  -DAXJAX_TEST_CASES=$(if $(filter none,$*),500,15)
	cmake --build build/test-cpp-$*
	ctest --test-dir build/test-cpp-$* --output-on-failure

# On Arm, by emulation: needs Debian's packages g++-aarch64-linux-gnu and qemu-user.
test-cpp-arm:
	cmake -S tests/cpp -B build/$@ -G Ninja -DCMAKE_SYSTEM_NAME=Linux \
	  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64 \
	  -DAXJAX_TEST_CASES=500
	cmake --build build/$@
	ctest --test-dir build/$@ --output-on-failure
