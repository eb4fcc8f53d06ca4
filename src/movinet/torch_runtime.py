"""Run a model of the model half: for prediction before export, and to compare engines with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from movinet.errors import ConfigError, MissingExtraError
from movinet.labels import as_labels
from movinet.network.config import InputSpec
from movinet.runtime.base import ModelInfo, check_numbers
from movinet.runtime.numbers import decay_from_half_life
from movinet.text import one_line
from movinet.video.preprocessing import crop_pixels, to_unit

try:
    import torch

    from movinet.network.ensemble import Ensemble
    from movinet.network.model import MoViNet
    from movinet.network.state import StreamState
    from movinet.weights.factory import LoadedModel, load_model
except ModuleNotFoundError as error:
    if error.name not in ("torch", "safetensors"):
        raise
    raise MissingExtraError("running a model with PyTorch", "torch") from None


def load_torch_runtime(
    model: str | None,
    weights: str | None = None,
    labels: Sequence[str] | None = None,
    head_activation: str | None = None,
    multi_label: bool | None = None,
) -> TorchRuntime:
    """Load a model by name or weights.

    Args:
        model: A preset or ensemble; None to tell it from the weights.
        weights: Published name or file; None for random weights.
        labels: Names of the classes.
        head_activation: Overrides the preset's.
        multi_label: Overrides what the weights say.

    Raises:
        ConfigError, CheckpointError, DownloadError: As `movinet.create_model`.
    """
    overrides: dict[str, Any] = {}
    if head_activation is not None:
        overrides["head_activation"] = head_activation
    loaded = load_model(model, weights, labels=labels, multi_label=multi_label, **overrides)
    return TorchRuntime(loaded)


def wrap(
    model: MoViNet | Ensemble,
    labels: Sequence[str] | str | os.PathLike[str],
    spec: InputSpec | None = None,
    *,
    name: str = "model",
    decay: float | None = None,
    multi_label: bool = False,
) -> TorchRuntime:
    """A runtime of a model in memory, for `movinet.predict`.

    Args:
        model: Put into evaluation mode.
        labels: Names of the classes.
        spec: How the model wants its video; an ensemble knows.
        name: For people.
        decay: What a stream's poolings keep a frame; see `MoViNet.forward`.
        multi_label: Whether a clip may have any number of labels: sigmoids instead of a softmax.

    Raises:
        ConfigError: If it is no model of movinet, the input or the number of labels does not fit,
            or it gives more than one prediction a clip (`pooling`).
    """
    labels = as_labels(labels)
    if not isinstance(model, MoViNet | Ensemble):
        raise ConfigError(f"wrap takes a MoViNet or an Ensemble, not {type(model).__name__}")
    model.eval()
    single = isinstance(model, MoViNet)
    if single != (spec is not None):
        raise ConfigError("a single model needs an input spec; an ensemble has its own")
    networks = [model] if single else model.networks
    specs = model.inputs if spec is None and not single else (spec,)
    if len(labels) != networks[0].config.num_classes:
        raise ConfigError(f"{len(labels)} labels for {networks[0].config.num_classes} classes")
    offsets = (0.0,) if single else model.time_offsets
    loaded = [
        LoadedModel(
            network,
            ModelInfo(
                name,
                member_spec,
                tuple(labels),
                network.config.streams,
                "memory",
                time_offset=offset,
                multi_label=multi_label,
            ),
        )
        for network, member_spec, offset in zip(networks, specs, offsets, strict=True)
        if member_spec is not None
    ]
    if single:
        return TorchRuntime(loaded[0], decay)
    info = dataclasses.replace(loaded[0].info, time_offset=0.0)
    return TorchRuntime(LoadedModel(model, info, tuple(loaded)), decay)


#: Frames of a stream that are computed at once where all of them are there.
_CHUNK = 32


class TorchRuntime:
    """A model in PyTorch behind the runtime protocol.

    Not for use from several threads at once: PyTorch spreads one call over its own threads.

    Attributes:
        info: What travels with the model.
        members: The members of an ensemble.

    Raises:
        ConfigError: If the model gives more than one prediction a clip.
    """

    def __init__(self, loaded: LoadedModel, decay: float | None = None) -> None:
        self.info: ModelInfo = loaded.info
        self.members = tuple(TorchRuntime(member, decay) for member in loaded.members)
        self.decay = decay
        self._model = loaded.model
        if isinstance(loaded.model, MoViNet):
            config = loaded.model.config
            if config.pooling != "3d" and not config.multi_label_pooling:
                raise ConfigError(
                    f"{self.info.name} has pooling={config.pooling!r}: its predictions are many a "
                    "clip; predict needs pooling='3d' or multi_label_pooling=True"
                )

    def to(self, device: str | None) -> TorchRuntime:
        """Move the model, and its members, to a device.

        Raises:
            ConfigError: If there is no such device, or PyTorch cannot use it.
        """
        try:
            self._model.to(torch.device(device or "cpu"))
        except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
            reason = one_line(str(error).strip().partition("\n")[0])
            raise ConfigError(
                f"device must be one that PyTorch has here, such as cpu, cuda or cuda:1, not "
                f"{device!r} ({reason})"
            ) from None
        for member in self.members:
            member.to(device)
        return self

    @property
    def network(self) -> MoViNet:
        """The single model behind this runtime.

        Raises:
            ConfigError: If it is an ensemble.
        """
        if not isinstance(self._model, MoViNet):
            raise ConfigError(f"{self.info.name} is an ensemble: use its members")
        return self._model

    def stream(self, *, half_life: float | None = None) -> TorchStream:
        """See `Runtime.stream`; without `half_life` the runtime's own decay counts."""
        if not self.info.streaming:
            raise ConfigError(f"{self.info.name} is a base model: it sees whole clips")
        decay = self.decay
        if half_life is not None:
            decay = decay_from_half_life(half_life, self.info.input.frame_rate)
        return TorchStream(self, decay)

    def clip_logits(self, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.clip_logits`."""
        with torch.inference_mode():
            return self.network(self.to_video(frames))[0].float().cpu().numpy()

    def clip_embedding(self, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.clip_embedding`."""
        network = self.network
        if network.config.pooling != "3d":
            raise ConfigError(
                f"{self.info.name} has pooling={network.config.pooling!r}: it has no one embedding "
                "of a clip; clip_embedding needs pooling='3d'"
            )
        with torch.inference_mode():
            return network.embed(self.to_video(frames))[0][0].float().cpu().numpy()

    def running_logits(
        self,
        frames: np.ndarray,
        state: StreamState | None = None,
        *,
        half_life: float | None = None,
    ) -> tuple[np.ndarray, StreamState]:
        """See `Runtime.running_logits`."""
        return self._running(frames, state, self.network.running_logits, half_life)

    def running_embeddings(
        self, frames: np.ndarray, state: StreamState | None = None
    ) -> tuple[np.ndarray, StreamState]:
        """See `Runtime.running_embeddings`."""
        return self._running(frames, state, partial(self.network.embed, every_frame=True))

    def _running(
        self,
        frames: np.ndarray,
        state: StreamState | None,
        run: Callable[..., Any],
        half_life: float | None = None,
    ) -> tuple[np.ndarray, StreamState]:
        """Outputs after each frame, (time, ...), in chunks."""
        if not self.info.streaming:
            raise ConfigError(f"{self.info.name} is a base model: it sees whole clips")
        decay = self.decay
        if half_life is not None:
            decay = decay_from_half_life(half_life, self.info.input.frame_rate)
        outputs: list[np.ndarray] = []
        held: Any = state or self.network.initial_state(1, frames.shape[1:3])
        with torch.inference_mode():
            for chunk in np.array_split(frames, -(-len(frames) // _CHUNK)):
                output, held = run(self.to_video(chunk), held, decay)
                outputs.append(output[0].float().cpu().numpy())
        return np.concatenate(outputs), held

    def to_video(self, frames: np.ndarray) -> torch.Tensor:
        """(time, height, width, 3) to (1, 3, time, height, width) where and as the model is."""
        if frames.dtype == np.uint8:  # scaled here: dividing on a GPU gives other last digits
            frames = to_unit(frames)
        like = self.network.stem.weight
        video = torch.from_numpy(np.ascontiguousarray(frames)).to(like.device, like.dtype)
        return video.permute(3, 0, 1, 2).unsqueeze(0)


class TorchStream:
    """One video seen frame by frame."""

    def __init__(self, runtime: TorchRuntime, decay: float | None = None) -> None:
        self._runtime, self._decay, self._missed = runtime, decay, 0
        size = runtime.info.input.image_size
        self._initial = runtime.network.initial_state(1, (size, size))
        self._state = self._initial

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """See one more frame, (height, width, 3) uint8; probabilities (classes,)."""
        runtime = self._runtime
        video = runtime.to_video(crop_pixels(frame, runtime.info.input)[None])
        with torch.inference_mode():
            decay = self._decay
            if decay is not None:
                decay, self._missed = max(decay ** (1 + self._missed), 1e-30), 0
            logits, self._state = runtime.network(video, self._state, decay)
            logits = logits[0].float()
            shares = logits.sigmoid() if runtime.info.multi_label else logits.softmax(0)
            probabilities = shares.cpu().numpy()
        check_numbers(probabilities, runtime.info)
        return probabilities

    @property
    def embedding(self) -> np.ndarray:
        """The pooled embedding of everything seen, (channels,) float32; see `Stream.embedding`."""
        state = self._state
        if not state.pool_weight[0]:
            raise ConfigError("the stream has seen no frame: it has no embedding yet")
        embedding = (state.sums["head"][0] / state.pool_weight[0]).float().cpu().numpy()
        check_numbers(embedding, self._runtime.info)
        return embedding

    def fade(self, missed: int) -> None:
        """See `Stream.fade`."""
        self._missed = missed

    def reset(self) -> None:
        """Forget every frame."""
        self._state = self._initial

    def snapshot(self) -> StreamState:
        """The state; states are values, so this costs nothing."""
        return self._state

    def restore(self, snapshot: StreamState) -> None:
        """Go back to a snapshot."""
        self._state = snapshot
