"""Ray Serve: streams of a replica that is killed go on in another one, and nothing is lost."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_tools import SIZE, free_port, pictures

import movinet
from movinet import Client
from movinet.client import ServerError
from movinet.errors import ConfigError, MissingExtraError

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(
    not HAS_RAY, reason="needs the extra ray, which takes 240 MB and make does not install"
)
STREAMS, FRAMES = 8, 60


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    import movinet.ray

    with pytest.raises(MissingExtraError, match=r"Ray Serve needs an extra.*\[.*ray\]"):
        movinet.ray.serve(snapshots=tmp_path)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, Path]]:
    """Two replicas on this machine; yields their URL, Ray, and the folder of streams."""
    ray: Any = pytest.importorskip("ray")
    from ray import serve  # pyright: ignore[reportMissingImports]

    import movinet.ray

    folder, port = tmp_path_factory.mktemp("streams"), free_port()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        app = movinet.ray.serve(snapshots=folder, replicas=2, interval=0.2)
        serve.run(app, name="movinet", route_prefix="/")
        yield f"http://127.0.0.1:{port}", ray, folder
    finally:
        serve.shutdown()
        ray.shutdown()


def replicas(ray: Any) -> list[Any]:
    """Handles of the replicas."""
    names = ray.util.list_named_actors(all_namespaces=True)
    return [
        ray.get_actor(each["name"], namespace=each["namespace"])
        for each in names
        if each["name"].startswith("SERVE_REPLICA::movinet")
    ]


class Driver(threading.Thread):
    """A client with one stream, which it takes up again when its server is gone."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._url, self.frames = url, pictures(seed, FRAMES)
        self.values: dict[int, dict[str, float]] = {}
        self.sent, self.losses, self.again, self.error = 0, 0, 0, ""

    def run(self) -> None:
        try:
            with Client(self._url) as client:
                sides = {"height": SIZE[0], "width": SIZE[1], "top": 10, "half_life": None}
                stream = client.stream(rules=None, **sides)
                number = 0
                while number < FRAMES:
                    try:
                        message = stream(self.frames[number], number / 8)
                    except ServerError:
                        self.losses += 1
                        stream = self._resume(client, stream.id)
                        self.again += number - (stream.sequence + 1)
                        number = stream.sequence + 1
                        continue
                    assert message["gap"] == 0, message
                    self.values[number] = {
                        each["label"]: each["probability"] for each in message["top"]
                    }
                    number += 1
                    self.sent = number
                    time.sleep(0.05)
                stream.close()
        except Exception as error:
            self.error = repr(error)

    def _resume(self, client: Client, name: str) -> Any:
        end = time.monotonic() + 60
        while True:
            try:
                return client.resume(name)
            except ServerError:
                assert time.monotonic() < end
                time.sleep(0.2)


@needs_ray
@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_streams_of_a_killed_replica_go_on_bit_for_bit(cluster: Any) -> None:
    url, ray, folder = cluster
    drivers = [Driver(url, seed) for seed in range(STREAMS)]
    for driver in drivers:
        driver.start()
    end = time.monotonic() + 60
    while min(driver.sent for driver in drivers) < 20:
        assert time.monotonic() < end, [(driver.sent, driver.error) for driver in drivers]
        time.sleep(0.05)
    first, *_ = found = replicas(ray)
    assert len(found) == 2
    ray.kill(first, no_restart=True)
    for driver in drivers:
        driver.join(120)
        assert not driver.is_alive()
    assert [driver.error for driver in drivers] == [""] * STREAMS
    print("losses", [driver.losses for driver in drivers], "again", [d.again for d in drivers])
    # Some streams were there, the others were not disturbed.
    assert 0 < sum(driver.losses > 0 for driver in drivers) < STREAMS
    runtime = movinet.load("motions")
    for driver in drivers:
        stream = runtime.stream()
        for number, frame in enumerate(driver.frames):
            row = stream(frame)
            there = [driver.values[number][label] for label in runtime.info.labels]
            np.testing.assert_array_equal(np.array(there, np.float32), row)
    assert list(folder.glob("*.stream")) == []


@needs_ray
@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_all_requests_of_a_stream_reach_its_replica(cluster: Any) -> None:
    url, _, _ = cluster
    with Client(url) as client:
        streams = [
            client.stream(height=SIZE[0], width=SIZE[1], rewind=10, rules=None) for _ in range(6)
        ]
        frames = pictures(1, 30)
        for stream in streams:
            for number, frame in enumerate(frames):
                stream(frame, number / 8)
            # Of a copy in the other replica, nothing could be rewound.
            assert stream.rewind(1.0) < 3.0
            assert stream.snapshot().frame_counts[0] < 30
            fork = stream.fork(half_life=1.0)
            assert fork.hello["sequence"] == 29
            fork.close()
            stream.close()


@needs_ray
def test_what_others_reach_needs_a_token(tmp_path: Path) -> None:
    import movinet.ray

    for hosts in ((), ("cam.local",)):
        with pytest.raises(ConfigError, match="needs a token"):
            movinet.ray.serve(snapshots=tmp_path, hosts=hosts)
    with pytest.raises(ConfigError, match="1 or more"):
        movinet.ray.serve(snapshots=tmp_path, replicas=(3, 2))
