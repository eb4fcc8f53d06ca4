"""What a training run is: every setting, checked, as recipes and YAML files give them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from movinet.network.config import Architecture, MoViNetConfig
from movinet.network.presets import preset_config
from movinet.video.frame_folder import RATES


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """Which network is trained, and from which weights.

    Attributes:
        preset: A name of `movinet.list_models` (no ensemble). A run that starts from a file of
            weights takes the file's, unless it is set with the run.
        weights: None to start from random ones, "kinetics-600", "kinetics-400", another name of
            embedded weights, or a file.
        load: What of the weights is taken: "all", or "backbone" (everything but the classifier's
            last layer; where the classes differ in number or name, that is what is asked for).
        freeze_backbone: Train the classifier (hidden layer and last layer) alone; batch norms of
            the backbone keep their statistics.
        freeze_norm: Batch norms keep the statistics of the weights and normalise with them in
            training too, so that training changes the very network that is evaluated; their
            weights and biases still train. Norms that the weights do not bring keep training;
            without weights, all do.
        overrides: Fields of `MoViNetConfig`, as `movinet.create_model` takes them. What a file of
            weights computes comes from the file, unless it is set with the run.
        architecture: Channels, kernels and strides of a network of one's own, with the options of
            the preset: ``stem``, ``groups`` ([filters, stride, [[expand, k_t, k], ...]]), ``head``
            and ``hidden``.
        initial_scale: Of a network that starts from random weights: the factor of each block's
            residual branch. The published 0 makes every block the identity at first, which costs
            a short training its first epochs.
    """

    preset: str
    weights: str | None = None
    load: Literal["all", "backbone"] = "all"
    freeze_backbone: bool = False
    freeze_norm: bool = False
    overrides: dict[str, Any] = Field(default_factory=dict)
    architecture: dict[str, Any] | None = None
    initial_scale: float = Field(default=0, ge=0, le=1)

    def network(self, num_classes: int) -> MoViNetConfig:
        """The network that is asked for.

        Raises:
            ConfigError: If an override or the architecture is not allowed.
        """
        config = preset_config(self.preset, **{**self.overrides, "num_classes": num_classes})
        if self.architecture is None:
            return config
        return config.replace(architecture=Architecture.from_dict(self.architecture))


class InputSection(Section):
    """Size and rate of what the network sees.

    None of them has to be set: they come from the file of weights, or else from the preset.

    Attributes:
        image_size: Height and width, pixels.
        short_side: To which the shorter side is resized in tests, before the centre crop, pixels;
            where `image_size` alone is set, in proportion to it.
        frame_rate: Frames per second.
        train_frames: Length of a clip in training; by default that which the network is published
            with.
        test_frames: Length of a clip in evaluation of a base model. A stream model is evaluated on
            every frame of a sample; its file only records the number.
    """

    image_size: int = Field(ge=16, le=1024)
    short_side: int = Field(ge=16, le=2048)
    frame_rate: float = Field(gt=0, le=1000)
    train_frames: int = Field(ge=1, le=10_000)
    test_frames: int = Field(ge=1, le=10_000)


class SourceSection(Section):
    """Where the videos are.

    Attributes:
        train: A folder with a folder per class, a manifest (.csv, .tsv, .jsonl), a Kinetics CSV
            (with `root`), WebDataset shards (.tar, braces or a folder of them) or TFRecords.
        valid: The same for evaluation.
        root: Folder that relative paths of a manifest or Kinetics CSV start from; by default the
            manifest's own.
        labels: Text file with one class a line; by default the classes that `train` has.
        exclude: List of bad files, as ``movinet data check -o`` writes it; both leave them out.
        multi_label: A sample may have any number of labels; losses and metrics change with it.
        missing: What becomes of the lines of a list whose files are missing: "refuse" ends the run
            before it begins, "skip" leaves them out and says how many.
        frame_rate: Frames per second of folders of numbered JPEG or PNG frames, each of which is a
            video; rows of an annotation file may have their own. Video files have theirs.
    """

    train: str | None = None
    valid: str | None = None
    root: str | None = None
    labels: str | None = None
    exclude: str | None = None
    multi_label: bool = False
    missing: Literal["refuse", "skip"] = "refuse"
    frame_rate: float | None = Field(default=None, ge=RATES[0], le=RATES[1])


class DataSection(SourceSection):
    """Where the videos are, and how they are read for training.

    Attributes:
        balance: What is done where classes are of unequal size: "none", "sampling" (all classes are
            drawn equally often, so that samples of small ones are seen more often) or "loss" (a
            sample's loss counts the more, the fewer its class has).
        workers: Processes that decode; 0 decodes in the training process.
        prefetch: Batches that each worker holds ready.
    """

    balance: Literal["none", "sampling", "loss"] = "none"
    workers: int = Field(default=2, ge=0, le=256)
    prefetch: int = Field(default=2, ge=1, le=64)


class AugmentSection(Section):
    """How training clips are changed; one draw for all frames of a clip.

    Attributes:
        crop_area: Area of the random crop as a share of the frame, (least, most); (1, 1) with
            aspect (1, 1) is the centre crop of a test.
        crop_aspect: Its aspect ratio, width over height, (least, most).
        flip: Probability of a horizontal flip.
        policy: "none", "autoaugment" (the ImageNet policy) or "randaugment".
        policy_layers: RandAugment: operations in a row.
        policy_magnitude: RandAugment: strength, 0 to 10.
        rotation: Largest rotation, degrees.
        brightness: Largest relative change; likewise contrast, saturation.
        contrast: See `brightness`.
        saturation: See `brightness`.
        hue: Largest change, in turns of the colour circle, up to 0.5.
        mixup: Alpha of the beta distribution; 0 is off.
        cutmix: Alpha of the beta distribution; 0 is off. With both, each batch draws one of them.
        random_stride: The time between two frames is drawn from [1 - r, 1 + r) of the model's.
    """

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_aspect: tuple[float, float] = (0.5, 2.0)
    flip: float = Field(default=0.5, ge=0, le=1)
    policy: Literal["none", "autoaugment", "randaugment"] = "none"
    policy_layers: PositiveInt = 2
    policy_magnitude: float = Field(default=9, ge=0, le=10)
    rotation: float = Field(default=0, ge=0, le=180)
    brightness: float = Field(default=0, ge=0, le=1)
    contrast: float = Field(default=0, ge=0, le=1)
    saturation: float = Field(default=0, ge=0, le=1)
    hue: float = Field(default=0, ge=0, le=0.5)
    mixup: float = Field(default=0, ge=0)
    cutmix: float = Field(default=0, ge=0)
    random_stride: float = Field(default=0, ge=0, lt=1)


class OptimizerSection(Section):
    """The optimiser.

    Attributes:
        name: "rmsprop" is TensorFlow's, with epsilon under the root (`movinet.training.rmsprop`).
        learning_rate: At its highest, for the whole batch.
        momentum: RMSprop and SGD.
        rho: RMSprop: decay of the mean square.
        epsilon: RMSprop and AdamW.
        betas: AdamW.
        weight_decay: RMSprop and SGD: factor of the sum of squares of the kernels in the loss,
            weight_decay / 2 * sum(w^2). AdamW: decoupled. Never on batch norms, biases, scales or
            the classifier's last kernel.
        clip_norm: Each variable's gradient is scaled down to this norm; None does not clip.
        backbone_factor: Factor of the learning rate of everything but the classifier.
    """

    name: Literal["rmsprop", "sgd", "adamw"] = "rmsprop"
    learning_rate: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    rho: float = Field(default=0.9, ge=0, lt=1)
    epsilon: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=3e-5, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)
    backbone_factor: float = Field(default=1.0, gt=0, le=1)


class ScheduleSection(Section):
    """How long, and how the learning rate goes.

    Attributes:
        epochs: Passes over the training data; may be a fraction. Either this or `steps`.
        steps: Updates of the weights.
        warmup_steps: Updates of linear warm-up from 0; at most a fifth of the run is used.
        kind: After the warm-up: "cosine" to 0, or "constant".
        patience: Stop early after this many evaluations in a row that are no better than the best
            before; None trains to the end.
    """

    epochs: float | None = Field(default=None, gt=0)
    steps: PositiveInt | None = None
    warmup_steps: int = Field(default=0, ge=0)
    kind: Literal["cosine", "constant"] = "cosine"
    patience: PositiveInt | None = None


class LossSection(Section):
    """The loss: cross-entropy, or with several labels binary cross-entropy.

    Attributes:
        label_smoothing: Probability given to all classes alike (single-label).
    """

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)


class EngineSection(Section):
    """How it is computed.

    Attributes:
        batch_size: Clips of one update, over all processes.
        accumulate: Parts that each process computes its share of a batch in, one after another;
            batch norms see the parts, so the numbers are not those of the whole batch.
        precision: "bfloat16" computes convolutions in it and keeps parameters and logits float32.
        compile: Compile the network (torch.compile).
        sync_norm: Batch norms see the batch of all processes.
        norm_batches: Training batches on which the statistics of the batch norms are measured
            again before each evaluation and at the end; 0 evaluates with the running ones.
        ema: Decay of the moving average of the weights that is evaluated and saved; 0 is off.
        seed: Of everything random.
        device: "auto", "cpu", "cuda" (each process its own) or "mps".
        threads: Of PyTorch's operations on a CPU; 0 leaves them alone.
        timeout: How long a process waits for the others before it takes them for lost, seconds.
    """

    batch_size: PositiveInt
    accumulate: PositiveInt = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    sync_norm: bool = True
    norm_batches: int = Field(default=0, ge=0, le=1000)
    ema: float = Field(default=0, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int = Field(default=0, ge=0, le=1024)
    timeout: float = Field(default=900, gt=0, le=86_400)


class RunSection(Section):
    """What happens beside training, and where it is kept.

    Attributes:
        folder: Of checkpoints, logs and plots.
        mode: "train", "eval" (once), "train_and_eval" in turn, or "continuous_eval" (each new
            checkpoint of the folder, until training has ended).
        eval_epochs: Epochs between evaluations in "train_and_eval"; there is one at the end too.
        checkpoint_seconds: Time between two checkpoints.
        log_steps: Updates between two lines of the log; fewer in a run that would have less than
            20 lines.
        views: Base models: windows of a sample that evaluation averages over.
        crops: Base models: crops of each window, 1 or 3.
        eval_batch_size: Clips, or streams, at once in evaluation.
        wait_seconds: "continuous_eval" ends when no checkpoint came for so long.
    """

    folder: str = "runs/train"
    mode: Literal["train", "eval", "train_and_eval", "continuous_eval"] = "train_and_eval"
    eval_epochs: float = Field(default=1, gt=0)
    checkpoint_seconds: float = Field(default=300, ge=0)
    log_steps: PositiveInt = 10
    views: PositiveInt = 1
    crops: Literal[1, 3] = 1
    eval_batch_size: PositiveInt = 8
    wait_seconds: float = Field(default=3600, ge=0)


class TrainConfig(Section):
    """A whole run."""

    model: ModelSection
    input: InputSection
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    optimizer: OptimizerSection
    schedule: ScheduleSection
    loss: LossSection = LossSection()
    engine: EngineSection
    run: RunSection = RunSection()
