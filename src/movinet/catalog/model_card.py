"""What is known of a model without running it: costs, input, published weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from movinet.catalog.complexity import Parameters
    from movinet.catalog.published import Card
    from movinet.network.config import InputSpec, MoViNetConfig

#: ensemble -> published top-1 on Kinetics 600, per cent, and where it is published
_PUBLISHED_ENSEMBLES = {
    "a6_base": (
        84.8,
        "https://github.com/tensorflow/models/blob/master/official/projects/movinet/README.md"
        "#description",
    ),
}


@dataclass(frozen=True)
class ModelFacts:
    """Everything that is known of a network without its weights.

    Attributes:
        name: Preset, or name of the model.
        config: The network.
        input: The input that it was published or trained for.
        frames: Length of the clip that costs are counted for.
        image_size: Height and width of its frames, pixels.
        parameters: Counted.
        multiply_adds: Counted, of that clip.
        frame_multiply_adds: Counted, of one streamed frame; None where it cannot stream.
        state_bytes: Memory of one stream's state as float32; None where it cannot stream.
        receptive_field: Frames that the convolutions see.
        cards: Of the published weights, Kinetics 600 first.
    """

    name: str
    config: MoViNetConfig
    input: InputSpec
    frames: int
    image_size: int
    parameters: Parameters
    multiply_adds: int
    frame_multiply_adds: int | None
    state_bytes: int | None
    receptive_field: int
    cards: tuple[Card, ...]

    @property
    def kind(self) -> str:
        """How it sees a video: "stream" frame by frame, "base" a clip at once."""
        return "stream" if self.config.causal else "base"

    def to_json(self) -> dict[str, Any]:
        """All facts as JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "num_classes": self.config.num_classes,
            "parameters": _parameters_json(self.parameters),
            "counted_for": {
                "frames": self.frames,
                "height": self.image_size,
                "width": self.image_size,
            },
            "multiply_adds": {"clip": self.multiply_adds, "frame": self.frame_multiply_adds},
            "state_bytes": self.state_bytes,
            "receptive_field": {
                "frames": self.receptive_field,
                "seconds": self.receptive_field / self.input.frame_rate,
            },
            "input": asdict(self.input),
            "preprocessing": dict(preprocessing(self)),
            "config": self.config.to_dict(),
            "cards": [asdict(card) for card in self.cards],
        }


@dataclass(frozen=True)
class EnsembleFacts:
    """Everything that is known of models whose logits are averaged.

    Attributes:
        name: Its name.
        members: Its models.
        top1: Published accuracy on Kinetics 600, per cent.
        source: Where that is published.
    """

    name: str
    members: tuple[ModelFacts, ...]
    top1: float
    source: str
    kind = "ensemble"

    @property
    def parameters(self) -> Parameters:
        """Those of all members together."""
        from movinet.catalog.complexity import Parameters

        counted = [member.parameters for member in self.members]
        return Parameters(sum(p.trainable for p in counted), sum(p.statistics for p in counted))

    @property
    def multiply_adds(self) -> int:
        """Those of all members together, each for its own clip."""
        return sum(member.multiply_adds for member in self.members)

    def to_json(self) -> dict[str, Any]:
        """All facts as JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "parameters": _parameters_json(self.parameters),
            "multiply_adds": {"clip": self.multiply_adds, "frame": None},
            "published": {"dataset": "kinetics-600", "top1": self.top1, "source": self.source},
            "members": [member.to_json() for member in self.members],
        }


def describe(
    name: str, *, image_size: int | None = None, frames: int | None = None
) -> ModelFacts | EnsembleFacts:
    """The facts of a preset, an ensemble or a bundled model.

    Args:
        name: One of `movinet.list_models`, or of `movinet.embedded.EMBEDDED`.
        image_size: Height and width to count for; by default the published one.
        frames: Clip length to count for; by default the published one.

    Raises:
        ConfigError: If the name is unknown.
    """
    from movinet.checkpoints.metadata import read_metadata
    from movinet.embedded import EMBEDDED, embedded_path
    from movinet.network.presets import ENSEMBLES, input_spec, preset_config

    if name in EMBEDDED and (metadata := read_metadata(embedded_path(name))):
        return describe_network(
            name, metadata.config, metadata.input, image_size=image_size, frames=frames
        )

    def preset(name: str) -> ModelFacts:
        config, spec = preset_config(name), input_spec(name)
        return describe_network(name, config, spec, image_size=image_size, frames=frames)

    if name not in ENSEMBLES:
        return preset(name)
    top1, source = _PUBLISHED_ENSEMBLES[name]
    return EnsembleFacts(name, tuple(preset(member) for member in ENSEMBLES[name]), top1, source)


def describe_network(
    name: str,
    config: MoViNetConfig,
    spec: InputSpec,
    *,
    image_size: int | None = None,
    frames: int | None = None,
) -> ModelFacts:
    """The facts of any network; `name` finds the published weights."""
    from movinet.catalog.complexity import (
        count_multiply_adds,
        count_parameters,
        count_state_bytes,
        receptive_field,
    )
    from movinet.catalog.published import all_cards

    side, length = image_size or spec.image_size, frames or spec.num_frames
    size, streams = (side, side), config.streams
    return ModelFacts(
        name=name,
        config=config,
        input=spec,
        frames=length,
        image_size=side,
        parameters=count_parameters(config),
        multiply_adds=count_multiply_adds(config, length, size),
        frame_multiply_adds=count_multiply_adds(config, 1, size) if streams else None,
        state_bytes=count_state_bytes(config, size) if streams else None,
        receptive_field=receptive_field(config),
        cards=tuple(card for card in all_cards() if card.preset == name),
    )


def _parameters_json(parameters: Parameters) -> dict[str, int]:
    return {**asdict(parameters), "total": parameters.total}


def preprocessing(facts: ModelFacts) -> list[tuple[str, str]]:
    """What to do with a video, step by step."""
    spec = facts.input
    size, rate, seconds = spec.image_size, spec.frame_rate, spec.num_frames / spec.frame_rate
    clip = f"{spec.num_frames} frames ({seconds:.3g} s)"
    if facts.config.causal:
        sampling = "every one from the beginning of the video on, one at a time or in chunks"
        if facts.cards:
            sampling += f"; published accuracy is that after {clip}"
    else:
        sampling = (
            f"{clip} from the middle of the video, which is repeated from its beginning if it is "
            "shorter; --views and --crops of 'movinet predict' average over more"
        )
    return [
        ("frame rate", f"{rate:g} a second: the frame on screen at every {1 / rate:.3g} s"),
        ("frames", sampling),
        ("resize", f"shorter side to {spec.short_side} pixels, bilinear without antialiasing"),
        ("crop", f"{size} x {size} pixels in the centre"),
        ("values", "RGB divided by 255, so in [0, 1]; no mean or deviation is taken out"),
        ("layout", f"(batch, 3, time, {size}, {size}) float"),
    ]
