"""The server of streams as a deployment of Ray Serve."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from movinet.errors import ConfigError, MissingExtraError
from movinet.serving.guard import LOCAL, Access

#: Requests of a replica beside those that last as long as a stream.
_BESIDE = 64
#: Seconds that Ray waits for the connections of a replica that it stops.
_GRACE = 5.0


@dataclass(frozen=True)
class _Options:
    """What every replica is told."""

    models: tuple[str, ...]
    snapshots: str
    workers: int
    streams: int
    interval: float
    idle: float
    access: Access
    max_upload: int


def serve(
    models: str | Sequence[str] = "motions",
    *,
    snapshots: str | os.PathLike[str],
    replicas: int | tuple[int, int] = 2,
    workers: int = 1,
    streams: int = 100,
    interval: float = 5.0,
    idle: float = 300.0,
    token: str | None = None,
    hosts: Sequence[str] = LOCAL,
    origins: Sequence[str] = (),
    max_upload: int = 2**30,
) -> Any:
    """The server of `movinet serve` as an application of Ray Serve, for ``ray.serve.run``.

    All requests of a stream go to one replica. Where that is killed, or the number of replicas
    changes, another one continues the stream from its last snapshot: a client connects again with
    the stream's id, and is told from which frame on to send again.

    Args:
        models: As `movinet serve` takes them; paths that every node has.
        snapshots: Folder (or address) that all nodes share, where streams are kept.
        replicas: How many, or the fewest and the most between which Ray chooses.
        workers: Threads, and cores, of a replica.
        streams: Open at a time in one replica. Ray adds one when they are two thirds of it.
        interval: Seconds between two snapshots of a stream that moves.
        idle: Seconds after which a silent stream is kept on disk only.
        token: What clients must know; Ray keeps it with the application.
        hosts: Names by which clients may call the server; empty for any, which needs a token.
        origins: Pages that may use it besides its own.
        max_upload: Bytes of a video that is sent whole.

    Raises:
        ConfigError: If an option is not possible.
        MissingExtraError: If Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("Ray Serve", "ray")
    from ray import serve as ray_serve  # pyright: ignore[reportMissingImports]
    from ray.serve.config import RequestRouterConfig  # pyright: ignore[reportMissingImports]

    from movinet.ray.routing import StreamRouter

    fewest, most = _checked(replicas, workers, streams, hosts, token)
    listed = (models,) if isinstance(models, str) else tuple(models)
    options = _Options(
        listed, os.fspath(snapshots), workers, streams, interval, idle,
        Access(token, tuple(hosts), tuple(origins)), max_upload,
    )  # fmt: skip

    def build() -> Any:
        return _app(options)

    deployment = ray_serve.deployment(
        name="movinet",
        max_ongoing_requests=streams + _BESIDE,
        ray_actor_options={"num_cpus": workers},
        request_router_config=RequestRouterConfig(
            request_router_class=StreamRouter,
            # Another replica would continue from a snapshot that is too old.
            request_router_kwargs={"num_fallback_replicas": 0},
        ),
        graceful_shutdown_timeout_s=_GRACE,
        graceful_shutdown_wait_loop_s=0.5,
        **_scale(fewest, most, streams),
    )(ray_serve.ingress(build)())
    return deployment.bind()


def _checked(
    replicas: int | tuple[int, int],
    workers: int,
    streams: int,
    hosts: Sequence[str],
    token: str | None,
) -> tuple[int, int]:
    """The fewest and the most replicas, if the options are possible."""
    if token is None and (not hosts or set(hosts) - set(LOCAL)):
        raise ConfigError("a server that others reach needs a token")
    fewest, most = (replicas, replicas) if isinstance(replicas, int) else replicas
    if not 1 <= fewest <= most or workers < 1 or streams < 1:
        raise ConfigError("replicas, workers and streams are 1 or more")
    return fewest, most


def _scale(fewest: int, most: int, streams: int) -> dict[str, Any]:
    """How many replicas, as Ray takes it."""
    if fewest == most:
        return {"num_replicas": fewest}
    scaling = {
        "min_replicas": fewest,
        "max_replicas": most,
        "target_ongoing_requests": max(1.0, streams * 2 / 3),
    }
    return {"autoscaling_config": scaling}


def _app(options: _Options) -> Any:
    """The application of one replica, in its process."""
    from movinet.serving.app import create_app
    from movinet.serving.hub import Hub, HubOptions
    from movinet.serving.metrics import Metrics
    from movinet.serving.models import open_served

    hub_options = HubOptions(
        options.workers,
        options.streams,
        options.idle,
        options.snapshots,
        options.interval,
        scattered=True,
    )
    hub = Hub(open_served(options.models), hub_options, Metrics())
    return create_app(hub, options.access, max_upload=options.max_upload)
