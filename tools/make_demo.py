"""Make the files of `make demo`: the embedded model from a finished run, and a clip to predict on.

Run from the repository's root, after the commands in src/movinet/embedded/motions.md:
``python tools/make_demo.py runs/motions``. The clip is of a seed that the model was not trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from movinet.data.synth import render_clip
from movinet.factory import load_model
from movinet.model import MoViNet
from movinet.video import VideoWriter
from movinet.weights.saving import save_weights

PACKAGE = Path(__file__).parent.parent / "src" / "movinet"
LABEL, SEED, NUMBER = "turning right", 2_000_000, 0
ORIGIN = "trained on made-up clips by the recipe motions (see motions.md beside the file)"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the finished run")
    loaded = load_model(None, parser.parse_args().run / "model.safetensors")
    assert isinstance(loaded.model, MoViNet)
    save_weights(
        PACKAGE / "embedded" / "motions.safetensors",
        loaded.model.state_dict(),
        config=loaded.model.config,
        input_spec=loaded.info.input,
        labels=loaded.info.labels,
        origin=ORIGIN,
    )
    clip = render_clip("motions", LABEL, SEED, NUMBER)
    with VideoWriter(PACKAGE / "demo" / "clip.mp4", clip.frame_rate) as writer:
        for frame in clip.frames:
            writer.write(frame)


if __name__ == "__main__":
    main()
