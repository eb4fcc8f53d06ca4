"""Batch norm over several processes, against one that has the whole batch."""

from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from movinet.training.norms import SyncBatchNorm, convert_sync_batchnorm
from networks import make_model, make_video, tiny_stream

#: Clips of each process.
SHARES = {2: (3, 1), 3: (1, 3, 2)}
#: Largest error, of values of about 1.
EXACT = {"float32": 1e-6, "float64": 1e-12}


def make_norm(dtype: torch.dtype) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(5, eps=1e-3, momentum=0.1).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias):
            tensor.copy_(torch.rand(5, generator=generator) + 0.5)
    return norm


def synced_norm(dtype: torch.dtype) -> nn.BatchNorm2d:
    parent = convert_sync_batchnorm(nn.Sequential(make_norm(dtype)))
    norm = next(parent.children())
    assert isinstance(norm, SyncBatchNorm)
    return norm


def make_inputs(clips: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What goes in, not centred, and the gradient of what comes out."""
    generator = torch.Generator().manual_seed(clips)
    draws = torch.randn(2, clips, 5, 4, 3, generator=generator, dtype=torch.float64).to(dtype)
    return (draws[0] + 1).contiguous(memory_format=torch.channels_last), draws[1]


def through_norm(norm: nn.BatchNorm2d, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    assert x.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    kept = {f"kept/{name}": value.clone() for name, value in norm.named_buffers()}
    sums = {"sum/weight": norm.weight.grad, "sum/bias": norm.bias.grad}
    return {"output": y.detach(), "gradient": x.grad, **kept, **sums}


def through_network(model: nn.Module, video: Tensor) -> dict[str, Tensor]:
    logits = model.train()(video)
    weights = torch.linspace(-1, 1, logits.shape[1], dtype=logits.dtype)
    # Not linear, or the gradients behind a batch norm would all but vanish.
    (logits.square() * weights).sum().backward()
    kept = {f"kept/{name}": value for name, value in model.named_buffers()}
    sums = {f"sum/{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"output": logits.detach(), **kept, **sums}


def make_network() -> nn.Module:
    return make_model(tiny_stream(dropout=0.0, drop_path=0.0), double=True)


def work(rank: int, folder: str) -> None:
    """What one of the processes does, first all together, then those of a smaller world."""
    torch.set_num_threads(1)
    for size, shares in sorted(SHARES.items(), reverse=True):
        if rank < size:
            start = f"file://{folder}/start-{size}"
            dist.init_process_group("gloo", start, rank=rank, world_size=size)
            clips, first = sum(shares), sum(shares[:rank])
            found = share(clips, slice(first, first + shares[rank]))
            torch.save(found, f"{folder}/{size}-{rank}.pt")
            dist.destroy_process_group()


def share(clips: int, mine: slice) -> dict[str, Any]:
    """A process's share of every batch, with synchronised norms."""
    found: dict[str, Any] = {}
    for name in EXACT:
        dtype = getattr(torch, name)
        part = [tensor[mine] for tensor in make_inputs(clips, dtype)]
        found[name] = through_norm(synced_norm(dtype), *part)
    low = [tensor[mine].bfloat16() for tensor in make_inputs(clips, torch.float32)]
    found["bfloat16"] = through_norm(synced_norm(torch.float32), *low)
    video = make_video(clips, frames=3, dtype=torch.float64)[mine]
    found["network"] = through_network(convert_sync_batchnorm(make_network()), video)
    with (
        mock.patch.object(dist, "all_gather", wraps=dist.all_gather) as gathers,
        mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as reductions,
    ):
        through_norm(synced_norm(torch.float32), *low)
    found["calls"] = (gathers.call_count, reductions.call_count)
    return found


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What each process found, by the number of processes."""
    folder = tmp_path_factory.mktemp("norms")
    mp.start_processes(work, (str(folder),), nprocs=max(SHARES), start_method="spawn")
    return {
        size: [torch.load(folder / f"{size}-{rank}.pt") for rank in range(size)] for size in SHARES
    }


@pytest.fixture(params=SHARES)
def found(request: pytest.FixtureRequest, worlds: dict[int, list[Any]]) -> list[Any]:
    """What each of 2 or 3 processes found."""
    return worlds[request.param]


def assert_together(
    found: list[Any], case: str, expected: dict[str, Tensor], tolerance: float
) -> None:
    """Outputs in a row, statistics in every process, gradients of weights in sum."""
    shares = [share[case] for share in found]
    assert shares[0].keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("kept/"):
            results = [share[name] for share in shares]
        elif name.startswith("sum/"):
            results = [torch.stack([share[name] for share in shares]).sum(0)]
        else:
            results = [torch.cat([share[name] for share in shares])]
        limit = tolerance * max(1.0, float(value.abs().max()))
        for result in results:
            torch.testing.assert_close(
                result, value, rtol=0, atol=limit, msg=lambda m, n=name: n + m
            )


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", EXACT)
def test_uneven_shares_equal_the_whole_batch(found: list[Any], dtype: str) -> None:
    kind = getattr(torch, dtype)
    clips = sum(len(share[dtype]["output"]) for share in found)
    expected = through_norm(make_norm(kind), *make_inputs(clips, kind))
    assert_together(found, dtype, expected, EXACT[dtype])


@pytest.mark.heavy
def test_bfloat16_has_float32_statistics(found: list[Any]) -> None:
    x, gradient = make_inputs(sum(len(s["float32"]["output"]) for s in found), torch.float32)
    expected = through_norm(make_norm(torch.float32), x.bfloat16().float(), gradient)
    shares = [share["bfloat16"] for share in found]
    assert all(share["output"].dtype == torch.bfloat16 for share in shares)
    for share in shares:
        share.update({k: v.float() for k, v in share.items() if v.dtype == torch.bfloat16})
        for name in ("kept/running_mean", "kept/running_var"):
            torch.testing.assert_close(share[name], expected[name], rtol=0, atol=1e-6)
    assert_together(found, "bfloat16", expected, 2**-7)


@pytest.mark.heavy
def test_a_network_equals_one_with_the_whole_batch(found: list[Any]) -> None:
    """Logits, every gradient and statistic, to 1e-10 of the largest in float64."""
    clips = sum(len(share["network"]["output"]) for share in found)
    video = make_video(clips, frames=3, dtype=torch.float64)
    assert_together(found, "network", through_network(make_network(), video), 1e-10)


@pytest.mark.heavy
def test_processes_talk_once_in_each_direction(found: list[Any]) -> None:
    assert all(share["calls"] == (1, 1) for share in found)


@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_the_plain_norm(training: bool) -> None:
    x, gradient = make_inputs(4, torch.float32)
    plain = make_norm(torch.float32).train(training)
    synced = synced_norm(torch.float32).train(training)
    expected = through_norm(plain, x, gradient)
    given = through_norm(synced, x, gradient)
    assert all(torch.equal(given[name], value) for name, value in expected.items())


def test_names_and_tensors_stay() -> None:
    model = make_model(tiny_stream())
    before = {name: value.data_ptr() for name, value in model.state_dict().items()}
    frozen = model.stem.norm
    frozen.train()
    synced = convert_sync_batchnorm(model)
    assert synced is model
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == before
    assert not any(type(module) is nn.BatchNorm2d for module in model.modules())
    assert isinstance(model.stem.norm, SyncBatchNorm)
    assert model.stem.norm.training
    assert not model.head.norm.training
    assert (model.head.norm.eps, model.head.norm.momentum) == (frozen.eps, frozen.momentum)
