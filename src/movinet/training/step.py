"""One update of the weights: forward, backward, decay, clipping, optimiser, average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from movinet.errors import CheckpointError
from movinet.network.model import MoViNet
from movinet.training.batches.loader import Batch
from movinet.training.batches.mixing import mix
from movinet.training.build import set_training
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes
from movinet.training.ema import EMA
from movinet.training.losses import classification_loss
from movinet.training.norm_statistics import freeze_norms, norms_reestimated, trained_norms
from movinet.training.norms import convert_sync_batchnorm
from movinet.training.optimizers import (
    add_decay,
    clip_each_,
    kernels,
    make_optimizer,
    set_learning_rate,
)
from movinet.training.schedule import learning_rate


class Trainer:
    """A network in training, its optimiser, and the average of its weights.

    Args:
        model: The network; is moved, changed and trained.
        config: The run's settings.
        processes: Who takes part.
        total_steps: Updates of the whole run.
        class_weights: (classes,) factors of the losses; None weighs all classes alike.
        fresh_norms: Batch norms that no weights brought: they train where others are frozen.
    """

    def __init__(
        self,
        model: MoViNet,
        config: TrainConfig,
        processes: Processes,
        total_steps: int,
        class_weights: Tensor | None = None,
        fresh_norms: Sequence[str] = (),
    ) -> None:
        self.model = model.to(processes.device)
        self.config, self.processes, self.total_steps = config, processes, total_steps
        self._class_weights = None
        if class_weights is not None:
            self._class_weights = class_weights.to(processes.device)
        synced = processes.size > 1 and config.engine.sync_norm
        if synced:
            convert_sync_batchnorm(model)
        if config.engine.compile:
            model.compile()
        self.optimizer = make_optimizer(model, config.optimizer)
        self._parallel = processes.parallel(model, share_buffers=not synced)
        self._trained = [p for p in model.parameters() if p.requires_grad]
        adds_decay = config.optimizer.name != "adamw"
        self._decay = config.optimizer.weight_decay if adds_decay else 0.0
        self._kernels = kernels(model)
        self._fresh_norms = list(fresh_norms)
        #: Clips for `norms_reestimated`, uint8 (batch, time, height, width, 3).
        self.norm_clips: Sequence[Tensor] = ()
        self._set_training()
        self.ema = EMA(model, config.engine.ema) if config.engine.ema else None

    def learning_rate(self, step: int) -> float:
        """That of the update after `step` ones."""
        peak = self.config.optimizer.learning_rate
        return learning_rate(step, self.total_steps, peak, self.config.schedule)

    def update(self, batch: Batch, step: int) -> Tensor:
        """Update the weights with this process's share of a batch.

        Everything random in it follows from the seed, the step and the rank, so that a run that
        goes on from a checkpoint draws what an unbroken one does.

        Args:
            batch: The share.
            step: Updates made before.

        Returns:
            (3,) on the device: sum of the losses (without the decay), number of clips whose
            likeliest class is right, number of clips.
        """
        config = self.config
        if not self.model.training:
            self._set_training()
        video, targets = self._prepare(batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(3, device=video.device)
        parts = list(
            zip(
                video.chunk(config.engine.accumulate),
                targets.chunk(config.engine.accumulate),
                strict=True,
            )
        )
        for i, part in enumerate(parts):
            with self._collecting(i + 1 < len(parts)):
                totals += self._backward(*part, len(video))
        if self._decay:
            add_decay(self._kernels, self._decay)
        if config.optimizer.clip_norm is not None:
            clip_each_(self._trained, config.optimizer.clip_norm)
        set_learning_rate(self.optimizer, self.learning_rate(step))
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.model)
        return totals

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[MoViNet]:
        """The network as it is evaluated: in evaluation mode, with averaged weights if kept."""
        self.processes.share_buffers(self.model)
        self.model.eval()
        device = self.processes.device
        clips = (as_video(clip, device) for clip in self.norm_clips)
        with (
            self.ema.swapped(self.model) if self.ema else contextlib.nullcontext(),
            norms_reestimated(self.model, self._trained_norms, clips, self.processes) as model,
        ):
            yield model

    def _set_training(self) -> None:
        set_training(self.model)
        if self.config.model.freeze_norm and self.config.model.weights is not None:
            freeze_norms(self.model, except_for=self._fresh_norms)
        self._trained_norms = trained_norms(self.model) if self.config.engine.norm_batches else []

    def is_finite(self) -> bool:
        """Whether every weight and statistic is a number."""
        tensors = [t for t in self.model.state_dict().values() if t.is_floating_point()]
        norms = torch.stack(torch._foreach_norm(tensors))
        return bool(torch.isfinite(norms).all())

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: network, optimiser, average."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "fresh_norms": self._fresh_norms,
        }

    def load_state_dict(self, state: dict[str, Any], where: str) -> None:
        """The inverse of `state_dict`.

        Raises:
            CheckpointError: If it is of another network.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.ema is not None:
                self.ema.load_state_dict(state["ema"])
            self._fresh_norms = list(state.get("fresh_norms", ()))
            self._set_training()
        except (KeyError, ValueError, RuntimeError, TypeError):
            raise CheckpointError(
                f"{where}: does not fit the network and optimiser of this run; choose another "
                "run.folder"
            ) from None

    def _prepare(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Video (batch, 3, time, height, width) float and targets, mixed; seeds what follows."""
        config, device = self.config, self.processes.device
        torch_seed, mix_seed = np.random.SeedSequence(
            (config.engine.seed, step, self.processes.rank)
        ).generate_state(2, np.uint64)
        torch.manual_seed(int(torch_seed))
        video = as_video(batch.video, device)
        targets = batch.targets.to(device, non_blocking=True)
        if config.augment.mixup or config.augment.cutmix:
            if targets.ndim == 1:
                targets = nn.functional.one_hot(targets, self.model.config.num_classes).float()
            generator = torch.Generator().manual_seed(int(mix_seed))
            video, targets = mix(video, targets, config.augment, generator)
        return video, targets

    def _collecting(self, more: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients of all but the last part stay in this process."""
        if more and isinstance(self._parallel, nn.parallel.DistributedDataParallel):
            return self._parallel.no_sync()
        return contextlib.nullcontext()

    def _backward(self, video: Tensor, targets: Tensor, count: int) -> Tensor:
        """Add the gradients of a part of `count` clips; the totals of `update`."""
        multi_label = self.config.data.multi_label
        low = self.config.engine.precision == "bfloat16"
        with torch.autocast(video.device.type, torch.bfloat16, enabled=low):
            logits = self._parallel(video)
        logits = logits.float()
        loss = classification_loss(
            logits,
            targets,
            self.config.loss,
            multi_label=multi_label,
            weights=self._class_weights,
        )
        # The mean over this process's clips; parallel training takes the mean over processes.
        (loss / count).backward()
        guess = logits.detach().argmax(1)
        if multi_label:
            hits = targets.gather(1, guess[:, None])[:, 0] > 0.5
        else:
            hits = guess == (targets if targets.ndim == 1 else targets.argmax(1))
        return torch.stack([loss.detach(), hits.sum().float(), loss.new_tensor(float(len(video)))])


def as_video(clips: Tensor, device: torch.device) -> Tensor:
    """A loader's clips, (batch, time, height, width, 3) uint8, as the network's input."""
    return clips.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).float() / 255
