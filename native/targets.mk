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
