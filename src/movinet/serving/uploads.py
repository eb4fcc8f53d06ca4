"""A video that is sent whole: its predictions and events."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Query, Request

from movinet.errors import ConfigError
from movinet.events import Detector, Rules
from movinet.live.results import change_to_json
from movinet.prediction import Prediction, predict
from movinet.runtime.exported import ExportedRuntime
from movinet.serving.hub import FullError, Hub
from movinet.serving.options import MAX_HALF_LIFE, MAX_TOP

#: Videos that are predicted at a time; the others are refused, so that streams keep their time.
_AT_ONCE = 1
#: Predictions in an answer.
_MAX_ROWS = 20_000


def router(hub: Hub) -> APIRouter:
    """What is asked under ``/v1/predict``."""
    routes = APIRouter()
    free = threading.BoundedSemaphore(_AT_ONCE)

    @routes.post("/v1/predict", tags=["videos"])
    async def predict_video(
        request: Request,
        model: Annotated[str, Query(description="The first if empty.")] = "",
        half_life: Annotated[
            float | None, Query(gt=0, le=MAX_HALF_LIFE, description="Seconds.")
        ] = None,
        every: Annotated[
            float, Query(ge=0, description="Seconds between two predictions in the answer.")
        ] = 1.0,
        top: Annotated[int, Query(ge=1, le=MAX_TOP)] = 5,
    ) -> dict[str, Any]:
        """Send a video as the body, get its predictions and events."""
        runtime = hub.runtime(model)
        if not free.acquire(blocking=False):
            raise FullError("another video is being predicted")
        try:
            handle, name = tempfile.mkstemp(prefix="movinet-", suffix=".video")
            try:
                with os.fdopen(handle, "wb") as file:
                    async for part in request.stream():
                        await anyio.to_thread.run_sync(file.write, part)
                video = _Video(Path(name), runtime, half_life, every, top)
                return await anyio.to_thread.run_sync(video.answer)
            finally:
                Path(name).unlink(missing_ok=True)
        finally:
            free.release()

    return routes


class _Video:
    """A file that was sent."""

    def __init__(
        self,
        path: Path,
        runtime: ExportedRuntime,
        half_life: float | None,
        every: float,
        top: int,
    ) -> None:
        self._path, self._runtime, self._half_life = path, runtime, half_life
        self._every, self._top = every, top

    def answer(self) -> dict[str, Any]:
        """Predictions from time to time, and the events of all."""
        if not self._path.stat().st_size:
            raise ConfigError("the body has no bytes: send a video file")
        detector = Detector(self._runtime.info.labels, Rules())
        rows: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
        last: Prediction | None = None
        for prediction in self._predictions():
            changes = detector.update(prediction.time, prediction.probabilities)
            events += [change_to_json(change) for change in changes if change.kind == "end"]
            if not rows or prediction.time >= rows[-1]["time"] + self._every - 1e-6:
                rows.append(self._row(prediction))
                if len(rows) > _MAX_ROWS:
                    raise ConfigError(f"over {_MAX_ROWS} predictions: ask for fewer with every")
            last = prediction
        if last is not None and rows[-1]["time"] != round(last.time, 6):
            rows.append(self._row(last))
        events += [change_to_json(change) for change in detector.finish()]
        return {
            "model": self._runtime.info.name,
            "labels": list(self._runtime.info.labels),
            "predictions": rows,
            "events": events,
        }

    def _predictions(self) -> Iterator[Prediction]:
        return predict(self._path, self._runtime, half_life=self._half_life)

    def _row(self, prediction: Prediction) -> dict[str, Any]:
        values = prediction.probabilities
        order = np.argsort(-values, kind="stable")[: self._top]
        labels = self._runtime.info.labels
        top = [{"label": labels[i], "probability": float(values[i])} for i in order]
        return {"time": round(prediction.time, 6), "top": top}
