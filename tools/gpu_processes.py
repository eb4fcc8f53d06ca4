"""Training in one process and in two, for gpu_check.py: a module that the processes import."""

from __future__ import annotations

import socket
from pathlib import Path

import gpu_measurements
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from gpu_networks import make_model
from torch import Tensor

from movinet.training.batches.loader import Batch
from movinet.training.config import TrainConfig
from movinet.training.distributed import Processes
from movinet.training.step import Trainer

STEPS, CLIPS, FRAMES = 3, 4, 4


def train_alone(name: str, side: int, kind: str) -> dict[str, Tensor]:
    """The weights after some steps of one process, on the CPU.

    Args:
        name: The preset.
        side: Height and width of frames, pixels.
        kind: "cuda" or "cpu".
    """
    device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    return _train(name, side, Processes(0, 1, device))


def train_together(
    name: str, side: int, kind: str, backend: str, folder: Path
) -> dict[str, Tensor]:
    """The same of two processes, each with half of every batch.

    Args:
        name: The preset.
        side: Height and width of frames, pixels.
        kind: "cuda" or "cpu".
        backend: "nccl" or "gloo".
        folder: For the result.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_work, (name, side, kind, backend, port, folder), nprocs=2)
    return torch.load(folder / "weights.pt", weights_only=True)


def _work(
    rank: int, name: str, side: int, kind: str, backend: str, port: int, folder: Path
) -> None:
    device = torch.device(kind)
    if kind == "cuda":
        device = torch.device(kind, rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    dist.init_process_group(backend, f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    weights = _train(name, side, Processes(rank, 2, device))
    if rank == 0:
        torch.save(weights, folder / "weights.pt")
    dist.barrier()
    dist.destroy_process_group()


def _train(name: str, side: int, processes: Processes) -> dict[str, Tensor]:
    gpu_measurements.use_tf32(False)
    config = TrainConfig.model_validate(
        {
            "model": {"preset": name, "overrides": {"dropout": 0.0, "drop_path": 0.0}},
            "input": {
                "image_size": side,
                "short_side": side,
                "frame_rate": 5.0,
                "train_frames": FRAMES,
                "test_frames": FRAMES,
            },
            "optimizer": {"name": "sgd", "learning_rate": 0.02},
            "schedule": {"steps": STEPS, "warmup_steps": 1},
            "engine": {"batch_size": CLIPS, "device": processes.device.type},
        }
    )
    trainer = Trainer(make_model(name, dropout=0.0, drop_path=0.0), config, processes, STEPS)
    for step in range(STEPS):
        trainer.update(_batch(step, side, processes), step)
    state = trainer.model.state_dict()
    return {key: value.cpu() for key, value in state.items() if value.is_floating_point()}


def _batch(step: int, side: int, processes: Processes) -> Batch:
    """This process's share of a batch that depends on the step alone."""
    generator = torch.Generator().manual_seed(step)
    shape = (CLIPS, FRAMES, side, side, 3)
    video = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    targets = torch.randint(0, 3, (CLIPS,), generator=generator)
    share = slice(processes.rank, None, processes.size)
    return Batch(video[share], targets[share], torch.arange(CLIPS)[share])
