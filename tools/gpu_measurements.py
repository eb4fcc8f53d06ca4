"""The measurements of gpu_check.py: each yields a row for every figure, with its limit."""

from __future__ import annotations

import copy
import dataclasses
import functools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_processes
import torch
import torch.nn.functional as F
from gpu_networks import make_model, peer_model, random_video
from torch import Tensor, nn

from movinet.network.model import MoViNet
from movinet.network.presets import input_spec

#: Limits of figures, as parts of the largest value on the CPU. There, float32 is within 2e-6 of
#: float64, float16 within 3e-3 of float32 and bfloat16 within 2e-2 (TF32 keeps as many bits of
#: factors as float16).
FLOAT32, TF32, FLOAT16, BFLOAT16 = 1e-4, 2e-2, 2e-2, 1e-1
#: Of the gradients of a whole step (as their length) and of weights after some steps.
GRADIENTS, WEIGHTS = 1e-3, 1e-4


@dataclass(frozen=True)
class Row:
    """A figure.

    Attributes:
        check: Which check it belongs to.
        model: The preset, or empty.
        what: What was measured.
        value: The figure, if there is one.
        unit: Of the figure; none for parts of the largest value.
        limit: What it may reach; None for figures that only inform.
        note: In the place of a figure.
        failed: Whether it failed without a figure.
    """

    check: str
    model: str
    what: str
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def passed(self) -> bool:
        """Whether the figure keeps its limit; one that is no number does not."""
        if self.limit is None or self.value is None:
            return not self.failed
        return self.value <= self.limit


@dataclass(frozen=True)
class Setting:
    """What is measured, and how large.

    Attributes:
        device: Where.
        models: Presets.
        port: A checkout of MoViNet-pytorch, or None.
        side: Largest height and width of frames, pixels.
        frames: Frames of a clip for parity.
        training: (clips, frames) of a training step.
        batches: Numbers of streams.
        rounds: How often things are timed, after as many calls for warming up, at most three.
        backend: Of `torch.compile`.
    """

    device: torch.device
    models: tuple[str, ...]
    port: Path | None
    side: int = 10_000
    frames: int = 8
    training: tuple[int, int] = (8, 16)
    batches: tuple[int, ...] = (1, 8, 64)
    rounds: int = 10
    backend: str = "inductor"

    def of_size(self, *sizes: str) -> list[str]:
        """Those of the presets that have one of these sizes; a few stand for the others."""
        return [name for name in self.models if name.startswith(sizes)]

    def image_size(self, model: str) -> int:
        """Height and width of a preset's frames, pixels."""
        return min(input_spec(model).image_size, self.side)


def make_setting(device: torch.device, models: Sequence[str], port: Path | None) -> Setting:
    """The setting of a GPU, or a small one for a try on the CPU."""
    if device.type == "cuda":
        return Setting(torch.device("cuda", 0), tuple(models), port)
    return Setting(
        device,
        tuple(models),
        port,
        side=32,
        frames=2,
        training=(2, 2),
        batches=(1, 2),
        rounds=1,
        backend="aot_eager",
    )


def use_tf32(allowed: bool) -> None:
    """Let float32 products and convolutions round their factors to TF32, or not.

    By the older of PyTorch's two interfaces: `torch.compile` of 2.9 fails after the newer one was
    used (https://github.com/pytorch/pytorch/issues/166387).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed


def parity(setting: Setting) -> Iterator[Row]:
    """Logits of clips and of streams, frame by frame, beside float32 on the CPU."""
    for name in setting.models:
        video, expected = _video(setting, name, 2, setting.frames), _expected(setting, name)
        there = _on(make_model(name), setting.device)
        for tf32, limit in ((False, FLOAT32), (True, TF32)):
            use_tf32(tf32)
            found = outputs(there, video.to(setting.device))
            for what, value in expected.items():
                precision = "TF32" if tf32 else "float32"
                deviation = relative(found[what], value)
                yield Row("parity", name, f"{precision}, {what}", deviation, limit=limit)
        use_tf32(False)


def autocast(setting: Setting) -> Iterator[Row]:
    """The same in half precision, the parameters in float32."""
    for name in setting.models:
        video, expected = _video(setting, name, 2, setting.frames), _expected(setting, name)
        there = _on(make_model(name), setting.device)
        for dtype, limit in ((torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)):
            if dtype == torch.bfloat16 and not _has_bfloat16(setting.device):
                yield Row("autocast", name, "bfloat16", note="not supported")
                continue
            with torch.autocast(setting.device.type, dtype):
                found = outputs(there, video.to(setting.device))
            label = str(dtype).removeprefix("torch.")
            for what, value in expected.items():
                yield Row(
                    "autocast", name, f"{label}, {what}", relative(found[what], value), limit=limit
                )


def training(setting: Setting) -> Iterator[Row]:
    """A step's loss and gradients beside the CPU's; its time and memory, also the other port's."""
    clips, frames = setting.training
    for name in setting.of_size("a0", "t0"):
        video, targets = _video(setting, name, 2, frames), torch.tensor([1, 2])
        model = make_model(name, dropout=0.0, drop_path=0.0).train()
        expected = gradients(copy.deepcopy(model), video, targets)
        found = gradients(
            _on(model, setting.device), video.to(setting.device), targets.to(setting.device)
        )
        yield Row("training", name, "loss", relative(found[0], expected[0]), limit=GRADIENTS)
        length = (found[1] - expected[1]).norm() / expected[1].norm()
        yield Row("training", name, "gradients (length)", float(length), limit=GRADIENTS)
        deviation = relative(found[2], expected[2])
        yield Row("training", name, "batch-norm statistics", deviation, limit=GRADIENTS)
        video = _video(setting, name, clips, frames).to(setting.device)
        networks: dict[str, Callable[[], nn.Module]] = {"": functools.partial(make_model, name)}
        if setting.port is not None and name.startswith("a0"):
            networks["MoViNet-pytorch, "] = functools.partial(peer_model, setting.port, name)
        for label, make in networks.items():
            for dtype in (None, torch.bfloat16) if _has_bfloat16(setting.device) else (None,):
                precision = "float32" if dtype is None else "bfloat16"
                what = f"step of {clips} x {frames} frames, {label}{precision}"
                step = _stepper(make(), video, setting.device, dtype)
                yield from _time_and_memory("training", name, what, step, setting)


def compiled(setting: Setting) -> Iterator[Row]:
    """`torch.compile` beside eager, for a clip or a streamed frame."""
    for name in setting.of_size("a0", "t0"):
        torch.compiler.reset()
        model = _on(make_model(name), setting.device)
        faster = torch.compile(model, fullgraph=True, dynamic=False, backend=setting.backend)
        side = setting.image_size(name)
        count = 1 if model.config.causal else setting.frames
        video = _video(setting, name, 1, count).to(setting.device)
        state = model.initial_state(1, (side, side)) if model.config.causal else None
        inputs = (video,) if state is None else (video, state)
        with torch.inference_mode():
            expected = _logits(model(*inputs))
            began = time.perf_counter()
            found = _logits(faster(*inputs))
            _wait(setting.device)
            yield Row("compile", name, "compiling", time.perf_counter() - began, "s")
            yield Row("compile", name, "logits", relative(found, expected), limit=FLOAT32)
            kind = "a frame" if state is not None else f"a clip of {count} frames"
            for label, function in (("eager", model), ("compiled", faster)):
                seconds = median_seconds(functools.partial(function, *inputs), setting)
                yield Row("compile", name, f"{kind}, {label}", 1e3 * seconds, "ms")


def processes(setting: Setting) -> Iterator[Row]:
    """Two processes with halves of the batches beside one with whole ones."""
    count = torch.cuda.device_count() if setting.device.type == "cuda" else 0
    backend = "nccl" if count > 1 else "gloo"
    for name in setting.of_size("t0"):
        side = min(64, setting.side)
        with tempfile.TemporaryDirectory() as folder:
            alone = gpu_processes.train_alone(name, side, setting.device.type)
            together = gpu_processes.train_together(
                name, side, setting.device.type, backend, Path(folder)
            )
        deviation = max(
            float((together[key] - value).abs().max() / value.abs().max().clamp(min=1))
            for key, value in alone.items()
        )
        where = f"{max(count, 1)} GPU(s)" if setting.device.type == "cuda" else "CPU"
        what = f"weights after {gpu_processes.STEPS} steps, {backend} on {where}"
        yield Row("processes", name, what, deviation, limit=WEIGHTS)


def streams(setting: Setting) -> Iterator[Row]:
    """Frames a second of streams that are stepped together."""
    for name in setting.models:
        model = make_model(name)
        if not model.config.causal:
            continue
        model = _on(model, setting.device)
        for batch in setting.batches:
            for dtype in (None, torch.float16):
                label = "float32" if dtype is None else "float16"
                what = f"batch of {batch}, {label}"
                try:
                    step = _streaming(model, setting, name, batch, dtype)
                    yield from _throughput(name, what, step, batch, setting)
                except torch.OutOfMemoryError:
                    yield Row("streams", name, what, note="out of memory")


def outputs(model: MoViNet, video: Tensor) -> dict[str, Tensor]:
    """Logits of a clip, and for streams those after each frame."""
    with torch.inference_mode():
        found = {"clip": model(video)}
        if model.config.causal:
            state = model.initial_state(video.shape[0], (video.shape[3], video.shape[4]))
            after = []
            for frame in video.split(1, dim=2):
                logits, state = model(frame, state)
                after.append(logits)
            found["frame by frame"] = torch.stack(after)
    return found


@functools.cache
def _expected(setting: Setting, name: str) -> dict[str, Tensor]:
    """What the CPU computes in float32."""
    return outputs(make_model(name), _video(setting, name, 2, setting.frames))


def gradients(model: nn.Module, video: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, gradients and statistics of a step in training mode, each in one tensor on the CPU."""
    loss = F.cross_entropy(model(video), targets)
    loss.backward()
    flat = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    moved = [b.flatten() for b in model.buffers() if b.is_floating_point()]
    return loss.detach().cpu(), torch.cat(flat).cpu(), torch.cat(moved).cpu()


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a part of the largest value."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).abs().max() / expected.abs().max())


def median_seconds(function: Callable[[], object], setting: Setting) -> float:
    """Of some calls, after others for warming up."""
    for _ in range(min(3, setting.rounds)):
        function()
    seconds = []
    for _ in range(setting.rounds):
        _wait(setting.device)
        began = time.perf_counter()
        function()
        _wait(setting.device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _stepper(
    model: nn.Module, video: Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> Callable[[], object]:
    """Forward, backward, clipping and an update, as training does them."""
    model = _on(model, device).train()
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3, momentum=0.9)
    targets = torch.arange(len(video), device=device)
    forget = getattr(model, "clean_activation_buffers", None)  # the other port keeps its state

    def step() -> None:
        if forget is not None:
            forget()
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            logits = model(video)
        F.cross_entropy(logits.float(), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _time_and_memory(
    check: str, name: str, what: str, step: Callable[[], object], setting: Setting
) -> Iterator[Row]:
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
    try:
        seconds = median_seconds(step, setting)
    except torch.OutOfMemoryError:
        yield Row(check, name, what, note="out of memory")
        return
    yield Row(check, name, what, 1e3 * seconds, "ms")
    if setting.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(setting.device) / 1e6
        yield Row(check, name, f"{what}, memory", peak, "MB")


def _streaming(
    model: MoViNet, setting: Setting, name: str, batch: int, dtype: torch.dtype | None
) -> Callable[[], object]:
    """One frame of each stream; the states go on from call to call."""
    side = setting.image_size(name)
    frame = _video(setting, name, 1, 1).to(setting.device).expand(batch, -1, -1, -1, -1)
    state = model.initial_state(batch, (side, side))
    held = {"state": state}

    def step() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(setting.device.type, dtype or torch.float16, enabled=dtype is not None),
        ):
            _, held["state"] = model(frame, held["state"])

    return step


def _throughput(
    name: str, what: str, step: Callable[[], object], batch: int, setting: Setting
) -> Iterator[Row]:
    for row in _time_and_memory("streams", name, what, step, setting):
        if row.unit == "ms" and row.value is not None:
            yield dataclasses.replace(row, value=1e3 * batch / row.value, unit="frames/s")
            row = dataclasses.replace(row, what=f"{what}, a step")
        yield row


def _video(setting: Setting, name: str, batch: int, frames: int) -> Tensor:
    return random_video(batch, frames, setting.image_size(name))


def _on(model: Any, device: torch.device) -> Any:
    """A copy on the device."""
    return copy.deepcopy(model).to(device)


def _logits(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _has_bfloat16(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
