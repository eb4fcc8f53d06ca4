"""Asks a server of streams as an unmodified client of Triton does; prints what it got, as JSON.

A program of its own: gevent, on which the client stands, is not for a process with many threads.
Usage: python triton_program.py HOST:PORT FRAMES.npz
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException


def main() -> None:
    client = http.InferenceServerClient(sys.argv[1])
    with np.load(sys.argv[2]) as stored:
        frames = dict(stored)
    found: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "served": [client.is_model_ready(name) for name in ("motions", "none")],
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata("motions"),
        "binary": ask(client, frames["alone"], binary=True),
        "json": ask(client, frames["alone"], binary=False),
        "7": [],
        "door": [],
    }
    for number in range(4):
        for name in ("7", "door"):
            at = {"sequence_start": number == 0, "sequence_end": number == 3}
            given = int(name) if name.isdecimal() else name
            part = frames[name][number : number + 1]
            found[name] += ask(client, part, binary=True, sequence_id=given, **at)
    try:
        ask(client, frames["7"][:1], binary=True, sequence_id=7)
    except InferenceServerException as error:
        found["ended"] = str(error)
    print(json.dumps(found))


def ask(client: Any, frames: Any, *, binary: bool, **options: Any) -> list[list[float]]:
    given = http.InferInput("frames", list(frames.shape), "UINT8")
    given.set_data_from_numpy(frames, binary_data=binary)
    wanted = [http.InferRequestedOutput("probabilities", binary_data=binary)]
    answer = client.infer("motions", [given], outputs=wanted, **options)
    return answer.as_numpy("probabilities").tolist()


if __name__ == "__main__":
    main()
