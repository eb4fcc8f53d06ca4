"""The network: stem, blocks, head, classifier, and its streaming state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import torch
from torch import Tensor, nn

from movinet.errors import ConfigError
from movinet.network.config import MoViNetConfig
from movinet.network.convolution import ConvBias, ConvNorm, activate, join, to_frames, to_video
from movinet.network.layers import Block, spatial_means, split_frames
from movinet.network.state import Clock, StreamState, running_sum


class MoViNet(nn.Module):
    """A MoViNet (arXiv 2103.11511), for whole clips or frame by frame.

    ``logits = model(video)`` sees a clip. A causal model also streams: ``logits, state =
    model(frames, state)`` sees the next frames of the streams that `state` stands for, starting
    from `initial_state`; a clip is one chunk from there, so both give the same numbers.

    Args:
        config: What to build; see `movinet.create_model` for the presets.
        initialize: Draw random weights. Without, they are whatever lies in memory, for who loads
            others at once.
    """

    def __init__(self, config: MoViNetConfig, *, initialize: bool = True) -> None:
        super().__init__()
        arch, act = config.architecture, config.activation
        self.config = config
        self.stem = ConvNorm(3, arch.stem, config, kernel=(1, 3), stride=2, activation=act)
        specs = list(arch.blocks())
        rates = [config.drop_path * i / len(specs) for i in range(1, len(specs) + 1)]
        self.blocks = nn.ModuleDict(
            {spec.name: Block(spec, config, rate) for spec, rate in zip(specs, rates, strict=True)}
        )
        self.head = ConvNorm(arch.groups[-1].filters, arch.head, config, activation=act)
        self.hidden = ConvBias(arch.head, arch.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = ConvBias(arch.hidden, config.num_classes, std=0.01)
        if initialize:
            for module in self.modules():
                if isinstance(module, (ConvNorm, ConvBias)):
                    module.reset_parameters()

    @overload
    def forward(self, video: Tensor) -> Tensor: ...
    @overload
    def forward(
        self, video: Tensor, state: StreamState, decay: float | Tensor | None = None
    ) -> tuple[Tensor, StreamState]: ...
    def forward(
        self,
        video: Tensor,
        state: StreamState | None = None,
        decay: float | Tensor | None = None,
    ) -> Tensor | tuple[Tensor, StreamState]:
        """Classify a clip, or the next frames of some streams.

        Args:
            video: (batch, 3, time, height, width) float RGB in [0, 1]; any size, any number of
                frames.
            state: What the streams have seen; only for causal models.
            decay: What the poolings over past frames keep a frame, in (0, 1]; a number or (batch,).
                None, the published way, is the mean of all frames ever seen, which goes stale on
                endless streams; see `decay_from_half_life`.

        Returns:
            Logits: (batch, classes); with `pooling` "2d" (batch, time, classes), with "none"
            (batch, time, height, width, classes). With a state also the new state; the old one is
            unchanged.

        Raises:
            ConfigError: (a ValueError) If the video or the state does not fit, or the model is not
                causal and a state is given.
        """
        embedding, new_state = self._run(video, state, decay)
        logits = self._classify(embedding)
        if state is None:
            return logits
        assert new_state is not None
        return logits, new_state

    def running_logits(
        self, video: Tensor, state: StreamState, decay: float | Tensor | None = None
    ) -> tuple[Tensor, StreamState]:
        """What `forward` says after each frame of a chunk, in one pass.

        Args:
            video: As in `forward`.
            state: As in `forward`.
            decay: As in `forward`.

        Returns:
            Logits (batch, time, classes) of everything seen until each frame, and the new state.

        Raises:
            ConfigError: As `forward`; or if the model does not pool over time (`pooling`).
        """
        if self.config.pooling != "3d":
            raise ConfigError(f"pooling={self.config.pooling!r} gives no running predictions")
        embedding, new_state = self._run(video, state, decay, every_frame=True)
        assert new_state is not None
        return self._classify(embedding), new_state

    def embed(
        self,
        video: Tensor,
        state: StreamState | None = None,
        decay: float | Tensor | None = None,
        *,
        every_frame: bool = False,
    ) -> tuple[Tensor, StreamState | None]:
        """The pooled embedding that the classifier's hidden layer sees.

        Args:
            video: As in `forward`.
            state: As in `forward`.
            decay: As in `forward`.
            every_frame: Return the embedding after each frame of a causal model.

        Returns:
            (batch, channels), or as `pooling` says; with `every_frame` (batch, time, channels). And
            the new state; None if the model is not causal.

        Raises:
            ConfigError: As `forward`; or if `every_frame` is set and the model is not causal or
                does not pool over time.
        """
        if every_frame and (not self.config.causal or self.config.pooling != "3d"):
            raise ConfigError("every_frame needs a causal model with pooling='3d'")
        return self._run(video, state, decay, every_frame=every_frame)

    @overload
    def features(self, video: Tensor) -> dict[str, Tensor]: ...
    @overload
    def features(
        self, video: Tensor, state: StreamState, decay: float | Tensor | None = None
    ) -> tuple[dict[str, Tensor], StreamState]: ...
    def features(
        self,
        video: Tensor,
        state: StreamState | None = None,
        decay: float | Tensor | None = None,
    ) -> dict[str, Tensor] | tuple[dict[str, Tensor], StreamState]:
        """The output of every stage, and the pooled embedding.

        Args:
            video: As in `forward`.
            state: As in `forward`.
            decay: As in `forward`.

        Returns:
            "stem", each block's name, and "head": (batch, channels, time, height, width);
            "embedding": what the classifier sees, (batch, channels), or as `pooling` says. With a
            state also the new state.
        """
        stages: dict[str, Tensor] = {}
        embedding, new_state = self._run(video, state, decay, stages)
        features = {name: to_video(value) for name, value in stages.items()}
        features["embedding"] = embedding
        if state is None:
            return features
        assert new_state is not None
        return features, new_state

    def initial_state(
        self,
        batch_size: int,
        image_size: tuple[int, int],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> StreamState:
        """The state of streams that have seen nothing.

        Args:
            batch_size: Number of streams.
            image_size: (height, width) of their frames, pixels.
            device: By default the parameters'.
            dtype: Of the buffers; by default the parameters'. Sums are float32 or better.

        Raises:
            ConfigError: If the model is not causal.
        """
        if not self.config.causal:
            raise ConfigError("this model is not causal and keeps no state; use a *_stream model")
        device = device or self.stem.weight.device
        dtype = dtype or self.stem.weight.dtype
        sum_dtype = torch.promote_types(dtype, torch.float32)
        buffers, sums = {}, {}
        for name, (channels, time, height, width) in self._buffer_shapes(*image_size).items():
            shape = (time, batch_size, height, width, channels)  # as frames lie in memory
            zeros = torch.zeros(shape, device=device, dtype=dtype)
            buffers[name] = zeros.permute(1, 4, 0, 2, 3)
        for name, (channels,) in self._sum_shapes().items():
            sums[name] = torch.zeros(batch_size, channels, device=device, dtype=sum_dtype)
        return StreamState(
            torch.zeros(batch_size, device=device, dtype=torch.int64),
            torch.zeros(batch_size, device=device, dtype=sum_dtype),
            buffers,
            sums,
        )

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a new one for `num_classes` classes; the rest stays."""
        self.config = self.config.replace(num_classes=num_classes)
        old = self.classifier.weight
        self.classifier = ConvBias(self.config.architecture.hidden, num_classes, std=0.01)
        self.classifier.reset_parameters()
        self.classifier.to(device=old.device, dtype=old.dtype)

    def _run(
        self,
        video: Tensor,
        state: StreamState | None,
        decay: float | Tensor | None,
        stages: dict[str, Tensor] | None = None,
        *,
        every_frame: bool = False,
    ) -> tuple[Tensor, StreamState | None]:
        """The pooled embedding and the new state; `stages` receives the frames of each stage.

        With `every_frame` the embedding is (batch, time, channels), as it is after each frame.
        """
        self._check(video, state)
        batch, _, num_frames, height, width = video.shape
        if decay is not None and not self.config.causal:
            raise ConfigError("this model is not causal: it pools over whole clips, without decay")
        clock = None
        if self.config.causal:
            state = state or self.initial_state(batch, (height, width), device=video.device)
            factor = _decay_column(decay, state.pool_weight)
            clock = Clock.start(state, num_frames, factor, self.config.trained_frames)
        buffers: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}
        outputs = self._stages(to_frames(video), clock, state, buffers, sums)
        x = video
        for name, x in outputs:
            if stages is not None:
                stages[name] = x
        embedding, total = self._pool(x, clock, state, every_frame)
        if clock is None:
            return embedding, None
        if total is not None:
            sums["head"] = total
        return embedding, StreamState(clock.frame_count, clock.pool_weight, buffers, sums)

    def _stages(
        self,
        frames: Tensor,
        clock: Clock | None,
        state: StreamState | None,
        buffers: dict[str, Tensor],
        sums: dict[str, Tensor],
    ) -> Iterator[tuple[str, Tensor]]:
        """Name and output of each stage; fills in the new `buffers` and `sums`."""
        x = self._stem(frames)
        yield "stem", x
        for name, block in self.blocks.items():
            past = total = None
            if state is not None:
                past, total = state.buffers.get(name), state.sums.get(name)
                past = None if past is None else to_frames(past)
            x, past, total = block(x, clock, past, total)
            yield name, x
            if past is not None:
                buffers[name] = to_video(past)
            if total is not None:
                sums[name] = total
        yield "head", self.head(x)

    def _stem(self, frames: Tensor) -> Tensor:
        parts = split_frames(frames, self.config.architecture.stem, self.stem.norm.training)
        return join([self.stem(_channels_last(part)) for part in parts])

    def _pool(
        self, x: Tensor, clock: Clock | None, state: StreamState | None, every_frame: bool
    ) -> tuple[Tensor, Tensor | None]:
        """What the classifier sees, and the head's new running sum."""
        if self.config.pooling == "none":
            return x.permute(1, 0, 3, 4, 2), None
        means = spatial_means(x)
        if self.config.pooling == "2d":
            return means.transpose(0, 1), None
        if clock is None or state is None:
            return means.mean(0), None
        sums = running_sum(state.sums["head"], means, clock.decay)
        total = sums[-1].clone()
        if every_frame:
            return (sums / clock.weight).transpose(0, 1), total
        return total / clock.weight[-1], total

    def _classify(self, embedding: Tensor) -> Tensor:
        hidden = self.hidden(embedding.to(self.hidden.weight.dtype))
        hidden = activate(hidden, self.config.head_activation)
        logits = self.classifier(self.dropout(hidden))
        if self.config.multi_label_pooling:
            weights = torch.softmax(logits / logits.shape[1] ** 0.5, dim=1)
            logits = (weights * logits).sum(1)
        return logits

    def _check(self, video: Tensor, state: StreamState | None) -> None:
        if video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():
            raise ConfigError(
                "video must be float (batch, 3, time, height, width) with values in [0, 1], "
                f"not {str(video.dtype).removeprefix('torch.')} {tuple(video.shape)}"
            )
        if 0 in video.shape:
            raise ConfigError(f"video is empty: {tuple(video.shape)}")
        wanted = self.stem.weight.dtype
        if video.dtype != wanted and not torch.is_autocast_enabled(video.device.type):
            raise ConfigError(
                f"the video is {video.dtype}, the model {wanted}: convert one of them"
            )
        if state is not None:
            self._check_state(video, state)

    def _check_state(self, video: Tensor, state: StreamState) -> None:
        if not self.config.causal:
            raise ConfigError("this model is not causal: it takes a clip, not a state")
        if self.config.multi_label_pooling:
            raise ConfigError("multi_label_pooling weighs all frames of a clip: it cannot stream")
        if state.frame_count.shape[0] != video.shape[0]:
            raise ConfigError(
                f"the state is of {state.frame_count.shape[0]} streams, the video of "
                f"{video.shape[0]}"
            )
        kinds = (
            ("buffer", state.buffers, self._buffer_shapes(*video.shape[3:])),
            ("sum", state.sums, self._sum_shapes()),
        )
        for kind, tensors, shapes in kinds:
            for name in (*shapes, *(name for name in tensors if name not in shapes)):
                found = tuple(tensors[name].shape[1:]) if name in tensors else None
                if found != shapes.get(name):
                    raise ConfigError(
                        f"the state is not of this model and frame size {tuple(video.shape[3:])}: "
                        f"{kind} {name} is {found}, not {shapes.get(name)}"
                    )

    def _sum_shapes(self) -> dict[str, tuple[int]]:
        """(channels,) of each running sum."""
        arch, shapes = self.config.architecture, {}
        if self.config.se_type in ("3d", "2plus3d"):
            shapes = {spec.name: (spec.expand,) for spec in arch.blocks()}
        if self.config.pooling == "3d":
            shapes["head"] = (arch.head,)
        return shapes

    def _buffer_shapes(self, height: int, width: int) -> dict[str, tuple[int, int, int, int]]:
        """(channels, time, height, width) of each block's stream buffer."""
        height, width = -(-height // 2), -(-width // 2)
        shapes = {}
        for spec in self.config.architecture.blocks():
            after = (-(-height // spec.stride), -(-width // spec.stride))
            if spec.kernel_time > 1:
                # Before a 3-D kernel, or between the halves of a factorised one.
                size = after if self.config.factorized else (height, width)
                shapes[spec.name] = (spec.expand, spec.kernel_time - 1, *size)
            height, width = after
        return shapes


def _channels_last(frames: Tensor) -> Tensor:
    """Frames with memory in the order time, batch, height, width, channels."""
    return frames.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _decay_column(decay: float | Tensor | None, like: Tensor) -> Tensor | None:
    """`decay` as (batch, 1) of the sums' type."""
    if decay is None:
        return None
    if not isinstance(decay, Tensor):
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 < decay <= 1:
            raise ConfigError(f"decay must be a number in (0, 1], not {decay!r}")
        decay = torch.tensor(decay)
    if decay.shape not in (torch.Size(()), like.shape):
        raise ConfigError(
            f"decay must be a number or of shape {tuple(like.shape)}, not {tuple(decay.shape)}"
        )
    if not torch.compiler.is_compiling() and not bool(((decay > 0) & (decay <= 1)).all()):
        raise ConfigError(f"decay must be in (0, 1], not {decay.tolist()}")
    value = decay.to(like.device, like.dtype)
    return value.expand(like.shape).unsqueeze(-1)
