# Targets of the native engine; the Makefile includes this file.

.PHONY: native-sanitize native-fuzz native-aarch64 wheel

NATIVE := native/CMakeLists.txt native/build_hook.py $(wildcard native/include/* native/src/*)
# For how long native-fuzz goes on, and with which damage; where it keeps the file it is trying.
SECONDS ?= 60
SEED ?= 1
NATIVE_CMAKE := $(BIN)/cmake -S native -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	-DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
GCC_LIBRARY = $(shell $(or $(CXX),g++) -print-file-name=$(1))

# movinet._native in the sources, anew whenever its own change.
$(VENV)/native.stamp: $(NATIVE) $(VENV)/dev.stamp
	$(BIN)/python -m pip install --no-deps -e .
	@touch $@

build/sanitize/.built: $(NATIVE) $(wildcard native/tests/*) $(VENV)/dev.stamp
	$(NATIVE_CMAKE) -B build/sanitize -DMOVINET_SANITIZE=ON -DMOVINET_TESTS=ON
	$(BIN)/cmake --build build/sanitize
	@touch $@

# Files of small and of published networks, and what PyTorch says about their frames.
build/native-cases/.made: tests/native/native_cases.py $(VENV)/native.stamp
	$(BIN)/python tests/native/native_cases.py build/native-cases
	@touch $@

native-sanitize: build/sanitize/.built build/native-cases/.made
	LD_PRELOAD="$(call GCC_LIBRARY,libasan.so) $(call GCC_LIBRARY,libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(BIN)/python tests/native/native_replay.py build/sanitize build/native-cases
	$(BIN)/python tests/native/native_programs.py build/sanitize build/native-cases

native-fuzz: build/sanitize/.built build/native-cases/.made
	build/sanitize/movinet_fuzz $(SECONDS) $(SEED) build/sanitize build/native-cases/small*.mvn
