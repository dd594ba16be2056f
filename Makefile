# Development: `make develop` builds the native modules into the source tree.
PYTHON ?= python3
BUILD ?= build/develop-$(shell $(PYTHON) -c 'import sys; print(f"{sys.version_info[0]}{sys.version_info[1]}")')

.PHONY: develop lint test check

develop:
	cmake -S . -B $(BUILD) -G Ninja -DPython_EXECUTABLE=$$($(PYTHON) -c 'import sys; print(sys.executable)') -DAXJAX_CUDA=$(or $(AXJAX_CUDA),OFF) > $(BUILD).log 2>&1 || (cat $(BUILD).log; false)
	cmake --build $(BUILD)
	cp $(BUILD)/_c*.so axjax/
	ln -sfn ../luts axjax/luts
