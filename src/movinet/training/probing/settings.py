"""Settings of a linear probe, as the recipe `probe` and YAML files give them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from movinet.network.config import InputSpec
from movinet.training.config import ModelSection, Section, SourceSection


class ProbeModel(Section):
    """The frozen network.

    Attributes:
        preset: A name of `movinet.list_models` (no ensemble); by default that of the weights.
        weights: "kinetics-600", "kinetics-400", another name of bundled weights, or a file.
        overrides: Fields of `MoViNetConfig` that differ from the preset's; by default the file's.
        architecture: Channels, kernels and strides that differ from the preset's; by default the
            file's.
    """

    preset: str
    weights: str
    overrides: dict[str, Any] = Field(default_factory=dict)
    architecture: dict[str, Any] | None = None

    def section(self) -> ModelSection:
        """The same for `movinet.training.build.build_model`."""
        return ModelSection(load="backbone", freeze_backbone=True, **self.model_dump())


class ProbeInput(Section):
    """Size and rate of what the network sees; by default those of the weights.

    Attributes:
        image_size: Height and width, pixels.
        short_side: Length to which the shorter side is resized before the centre crop, pixels.
        frame_rate: Frames per second.
        test_frames: Base models: length of a window.
    """

    image_size: int = Field(ge=16, le=1024)
    short_side: int = Field(ge=16, le=2048)
    frame_rate: float = Field(gt=0, le=1000)
    test_frames: int = Field(ge=1, le=10_000)

    def spec(self) -> InputSpec:
        """The same for a model."""
        return InputSpec(self.image_size, self.short_side, self.frame_rate, self.test_frames)


class ProbeData(SourceSection):
    """Where the videos are.

    Attributes:
        balance: What is done where classes are of unequal size: "none", or "loss" (a sample's loss
            counts the more, the fewer its class has).
        workers: Threads that decode and compute embeddings; by default one for each processor, at
            most 16.
    """

    balance: Literal["none", "loss"] = "none"
    workers: int | None = Field(default=None, ge=1, le=256)


class FitSection(Section):
    """How the linear layer is fitted.

    Attributes:
        c: Inverse strength of the regularisation, the C of scikit-learn's `LogisticRegression` for
            samples of mean square 1; None chooses it by cross-validation.
        folds: Parts of the cross-validation; samples of one group, or of one video, stay together.
        moments: Stream models: moments of each training sample, spread evenly up to its end, whose
            embeddings the layer is fitted on.
        cache: Keep embeddings for later runs (`movinet.training.probing.cache`).
    """

    c: float | None = Field(default=None, gt=0, le=1e9)
    folds: int = Field(default=5, ge=2, le=100)
    moments: int = Field(default=4, ge=1, le=64)
    cache: bool = True


class ProbeEngine(Section):
    """What computes the embeddings.

    Attributes:
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "mps". On the
            CPU, stream models run in the native engine where it is installed.
        seed: Seed of the cross-validation's folds.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**31)


class ProbeRun(Section):
    """Where the results are kept, and how base models are evaluated.

    Attributes:
        folder: Folder of the run.
        views: Base models: windows of a sample that are averaged over.
        crops: Base models: crops of each window, 1 or 3.
    """

    folder: str = "runs/probe"
    views: int = Field(default=1, ge=1, le=1000)
    crops: Literal[1, 3] = 1


class ProbeConfig(Section):
    """A whole linear probe."""

    model: ProbeModel
    input: ProbeInput
    data: ProbeData = ProbeData()
    probe: FitSection = FitSection()
    engine: ProbeEngine = ProbeEngine()
    run: ProbeRun = ProbeRun()
