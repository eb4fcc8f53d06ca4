"""Several models whose logits are averaged: A6, and temporal ensembles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn

from movinet.errors import ConfigError
from movinet.network.config import InputSpec
from movinet.network.model import MoViNet
from movinet.network.state import StreamState


class Ensemble(nn.Module):
    """The mean of the logits of some models, each fed the video at its own size and frame rate.

    A6 is the ensemble of A4 and A5 (arXiv 2103.11511). `movinet.predict` feeds each member its own
    view of a video.

    Args:
        members: Models with the same classes, all base or all stream.
        inputs: What each wants.
        time_offsets: Seconds by which each sees the video later; see `temporal_ensemble`.
    """

    def __init__(
        self,
        members: Sequence[MoViNet],
        inputs: Sequence[InputSpec],
        time_offsets: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        offsets = tuple(time_offsets) if time_offsets is not None else (0.0,) * len(members)
        if not members or not len(members) == len(inputs) == len(offsets):
            raise ConfigError(
                f"an ensemble needs an input and an offset for each member, not {len(members)} "
                f"members, {len(inputs)} inputs, {len(offsets)} offsets"
            )
        if not all(isinstance(member, MoViNet) for member in members):
            raise ConfigError("members of an ensemble are MoViNets, not ensembles or wrappers")
        for field in ("num_classes", "causal", "pooling", "multi_label_pooling"):
            values = {getattr(member.config, field) for member in members}
            if len(values) > 1:
                raise ConfigError(f"members of an ensemble differ in {field}: {sorted(values)}")
        self.members = nn.ModuleList(members)
        self.inputs = tuple(inputs)
        self.time_offsets = offsets

    @overload
    def forward(self, videos: Sequence[Tensor]) -> Tensor: ...
    @overload
    def forward(
        self,
        videos: Sequence[Tensor],
        states: Sequence[StreamState],
        decay: float | Tensor | None = None,
    ) -> tuple[Tensor, tuple[StreamState, ...]]: ...
    def forward(
        self,
        videos: Sequence[Tensor],
        states: Sequence[StreamState] | None = None,
        decay: float | Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[StreamState, ...]]:
        """The mean of the members' logits.

        Args:
            videos: One for each member, as `MoViNet.forward` takes it.
            states: One for each member, for streams.
            decay: As in `MoViNet.forward`.

        Returns:
            Logits (batch, classes); with states also the new states.

        Raises:
            ConfigError: If there are not as many videos or states as members, or one does not fit.
        """
        for what, given in (("videos", videos), ("states", states)):
            if given is not None and len(given) != len(self.members):
                raise ConfigError(f"{len(self.members)} members need as many {what}: {len(given)}")
        if states is None:
            clips = zip(self.networks, videos, strict=True)
            return torch.stack([member(video, None, decay) for member, video in clips]).mean(0)
        outputs = [
            member(video, state, decay)
            for member, video, state in zip(self.networks, videos, states, strict=True)
        ]
        logits = torch.stack([output for output, _ in outputs]).mean(0)
        return logits, tuple(state for _, state in outputs)

    def initial_state(
        self,
        batch_size: int,
        image_sizes: Sequence[tuple[int, int]],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[StreamState, ...]:
        """The states of streams that have seen nothing; see `MoViNet.initial_state`."""
        if len(image_sizes) != len(self.members):
            raise ConfigError(f"{len(self.members)} members need as many image sizes")
        return tuple(
            member.initial_state(batch_size, size, device=device, dtype=dtype)
            for member, size in zip(self.networks, image_sizes, strict=True)
        )

    @property
    def networks(self) -> list[MoViNet]:
        """The members, typed."""
        return [member for member in self.members if isinstance(member, MoViNet)]


def temporal_ensemble(first: MoViNet, second: MoViNet, spec: InputSpec) -> Ensemble:
    """Two models of one architecture at half the frame rate, one frame apart (the paper's).

    Together they see every frame of the video at the full frame rate, each half of them.

    Args:
        first: Sees frames 0, 2, 4, ...
        second: Sees frames 1, 3, 5, ...; may be the same object.
        spec: The full frame rate and number of frames.

    Raises:
        ConfigError: If the architectures differ.
    """
    if first.config.architecture != second.config.architecture:
        raise ConfigError("members of a temporal ensemble have one architecture")
    half = dataclasses.replace(
        spec, frame_rate=spec.frame_rate / 2, num_frames=max(1, spec.num_frames // 2)
    )
    return Ensemble([first, second], [half, half], [0.0, 1 / spec.frame_rate])
