"""Make the files of `make demo`: the embedded model, and a clip to predict on.

Run from the repository's root, after the commands in src/movinet/embedded/motions.md:
``python tools/make_demo.py runs/motions``. Without a run, the weights that are there are exported
anew. The clip is of a seed that the model was not trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from movinet.data.synth import render_clip
from movinet.embedded import embedded_path, exported_path
from movinet.exporting.export import export
from movinet.network.model import MoViNet
from movinet.video import VideoWriter
from movinet.weights.factory import load_model
from movinet.weights.saving import save_weights

DEMO = Path(__file__).parent.parent / "src" / "movinet" / "demo"
LABEL, SEED, NUMBER = "turning right", 2_000_000, 0
ORIGIN = "trained on made-up clips by the recipe motions (see motions.md beside the file)"


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="folder of the finished run")
    run = parser.parse_args().run
    if run is not None:
        keep(run / "model.safetensors")
    print(export(load_model(None, "motions"), exported_path("motions")))
    clip = render_clip("motions", LABEL, SEED, NUMBER)
    with VideoWriter(DEMO / "clip.mp4", clip.frame_rate) as writer:
        for frame in clip.frames:
            writer.write(frame)


def keep(weights: Path) -> None:
    """Put the weights of a run into the package."""
    loaded = load_model(None, weights)
    assert isinstance(loaded.model, MoViNet)
    save_weights(
        embedded_path("motions"),
        loaded.model.state_dict(),
        config=loaded.model.config,
        input_spec=loaded.info.input,
        labels=loaded.info.labels,
        origin=ORIGIN,
    )


if __name__ == "__main__":
    main()
