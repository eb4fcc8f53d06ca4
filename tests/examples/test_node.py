"""The Node.js example does with a file what Python does."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import movinet
from movinet.network.config import InputSpec
from movinet.video import VideoReader, resample
from movinet.video.preprocessing import crop_pixels

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "node"
PACKAGE = ROOT / "src" / "movinet" / "web" / "js"
CLIP = ROOT / "src" / "movinet" / "demo" / "clip.mp4"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def node(*arguments: str | Path, data: bytes = b"", cwd: Path = EXAMPLE) -> tuple[int, str, str]:
    done = subprocess.run(
        ["node", *arguments], input=data, capture_output=True, check=False, cwd=cwd, timeout=120
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def packages(npm_install: Callable[[str], Path]) -> Path:
    """onnxruntime-node, where the example looks for it."""
    return npm_install("node")


def frames_of(video: Path, rate: float) -> list[np.ndarray]:
    with VideoReader(video) as reader:
        return [frame.image for frame in resample(reader, rate)]


def as_ppm(frames: list[np.ndarray]) -> bytes:
    parts = [b"P6 %d %d 255\n" % (f.shape[1], f.shape[0]) + f.tobytes() for f in frames]
    return b"".join(parts)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_video_gives_what_python_gives(exported: Path, packages: Path, tmp_path: Path) -> None:
    assert packages.is_dir()
    code, said, complaint = node("predict.mjs", exported, "--info")
    assert code == 0, complaint
    rate = json.loads(said)["input"]["frame_rate"]
    wanted = list(movinet.predict(CLIP, weights="motions"))
    # The example's own script, as its page says.
    script = subprocess.run(
        [sys.executable, EXAMPLE / "frames.py", CLIP, f"{rate}"],
        capture_output=True,
        check=True,
    )
    assert script.stdout == as_ppm(frames_of(CLIP, rate))
    code, said, complaint = node("predict.mjs", exported, "-", "--json", data=script.stdout)
    assert code == 0, complaint
    found = [json.loads(line) for line in said.splitlines()]
    assert [line["time"] for line in found] == [p.time for p in wanted]
    np.testing.assert_allclose(
        [line["probabilities"] for line in found], [p.probabilities for p in wanted], atol=1e-4
    )

    # A half-life, and a file in the place of a pipe.
    path = tmp_path / "frames.ppm"
    path.write_bytes(script.stdout)
    stream = movinet.load(exported).stream(half_life=0.5)
    wanted_fading = [stream(frame) for frame in frames_of(CLIP, rate)]
    code, said, complaint = node("predict.mjs", exported, path, "--json", "--half-life", "0.5")
    assert code == 0, complaint
    fading = [json.loads(line)["probabilities"] for line in said.splitlines()]
    np.testing.assert_allclose(fading, wanted_fading, atol=1e-4)
    assert np.abs(np.array(fading) - [p.probabilities for p in wanted]).max() > 0.01

    code, said, complaint = node("predict.mjs", exported, path)
    assert code == 0, complaint
    (label, share) = wanted[-1].top(1)[0]
    assert f"{label} {100 * share:.1f} %" in said.splitlines()[-1]


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_streams_reset_rewind_and_keep_apart(exported: Path, packages: Path) -> None:
    assert packages.is_dir()
    program = """
        import assert from "node:assert";
        import { readFile } from "node:fs/promises";
        import * as runtime from "onnxruntime-node";
        import { Model } from "../../src/movinet/web/js/index.mjs";
        const model = await Model.load(await readFile(process.argv[1]), { runtime });
        const data = [40, 90, 200].map((v) => new Uint8Array(50 * 70 * 4).map((_, i) => v + i % 7));
        const image = (i) => ({ width: 70, height: 50, data: data[i] });
        const [one, other] = [model.stream(), model.stream()];
        const first = [await one.step(image(0)), await one.step(image(1))];
        await other.step(image(2));
        const kept = one.snapshot();
        const third = await one.step(image(2));
        assert.notDeepEqual(third, first[1]);
        other.restore(kept);
        assert.equal(other.frameCount, 2);
        assert.deepEqual(await other.step(image(2)), third);
        one.reset();
        assert.deepEqual([await one.step(image(0)), await one.step(image(1))], first);
    """
    code, _, complaint = node("--input-type=module", "-e", program, exported)
    assert code == 0, complaint


@pytest.mark.parametrize("shape", [(50, 70), (70, 50), (64, 64), (33, 200), (300, 211)])
def test_frames_are_resized_to_the_last_bit(shape: tuple[int, int]) -> None:
    spec = InputSpec(image_size=48, short_side=55, frame_rate=5, num_frames=8)
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    program = f"""
        import {{ cropPixels }} from "../../src/movinet/web/js/index.mjs";
        import {{ readImages }} from "./ppm.mjs";
        const input = {{ image_size: {spec.image_size}, short_side: {spec.short_side} }};
        for await (const image of readImages(process.stdin)) {{
            const rgba = new Uint8ClampedArray(image.width * image.height * 4);
            for (let i = 0; i < rgba.length; i++) rgba[i] = image.data[(i >> 2) * 3 + (i & 3)];
            const pixels = cropPixels(image, input);
            process.stdout.write(Buffer.from(pixels).toString("hex") + "\\n");
            const same = cropPixels({{ ...image, data: rgba }}, input);
            if (Buffer.compare(same, pixels) !== 0) throw new Error("RGBA differs");
        }}
    """
    code, said, complaint = node("--input-type=module", "-e", program, data=as_ppm([frame]))
    assert code == 0, complaint
    assert bytes.fromhex(said.strip()) == crop_pixels(frame, spec).tobytes()


MANIFEST = {"movinet": 1, "kind": "step", "name": "x", "num_frames": 1, "batch_size": 1}


def as_onnx(manifest: str) -> bytes:
    """A file with nothing but metadata, and a field before it to step over."""
    pair = [(1, b"movinet"), (2, manifest.encode())]
    entry = b"".join(bytes([n << 3 | 2, *varint(len(text))]) + text for n, text in pair)
    return b"\x08\x08" + bytes([14 << 3 | 2, *varint(len(entry))]) + entry


def varint(value: int) -> list[int]:
    return [value] if value < 128 else [value & 127 | 128, *varint(value >> 7)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 no model", "it is not an .onnx file"),
        (b"MVN1 and little more", "the .mvn file is cut off"),
        (b"\x08\x08", "it has no movinet manifest; export the model with movinet export"),
        (as_onnx("{"), "its movinet manifest is broken"),
        (as_onnx(json.dumps({**MANIFEST, "movinet": 99})), "its manifest is of version 99, not 1"),
        (as_onnx(json.dumps({**MANIFEST, "kind": "clip"})), "x is a base model"),
        (as_onnx(json.dumps({**MANIFEST, "num_frames": 8})), "it takes several frames"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    code, said, complaint = node("predict.mjs", path, "--info")
    assert (code, said) == (1, "")
    assert complaint.startswith(f"error: {message}")
    assert complaint.count("\n") == 1


def test_wrong_usage_and_missing_files() -> None:
    assert node("predict.mjs")[0] == 2
    assert node("predict.mjs", "a.onnx", "b", "--nonsense")[0] == 2
    code, _, complaint = node("predict.mjs", "nowhere.onnx", "--info")
    assert code == 1
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P3 1 1 255\n0 0 0", "frame 0 is no binary PPM image of 8 bits"),
        (b"P6 99999 1 255\n", "frame 0 is no binary PPM image of 8 bits"),
        (b"P6 0 4 255\n", "frame 0 is no binary PPM image of 8 bits"),
        (b"P6\n# a comment\n1 1\n255\nrgbP6 2 1 255\nrgb", "frame 1 is cut off"),
    ],
)
def test_other_images_are_refused(data: bytes, message: str) -> None:
    program = """
        import { readImages } from "./ppm.mjs";
        for await (const image of readImages(process.stdin)) console.log(image.data.length);
    """
    code, said, complaint = node("--input-type=module", "-e", program, data=data)
    assert code == 1
    assert said == ("3\n" if "1" in message else "")
    assert message in complaint


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_page_does_what_it_says(exported: Path, packages: Path, tmp_path: Path) -> None:
    folder = tmp_path / "examples" / "node"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(PACKAGE, tmp_path / "src" / "movinet" / "web" / "js")
    (folder / "node_modules").symlink_to(packages)
    shutil.copyfile(exported, folder / "motions.onnx")
    shutil.copyfile(CLIP, folder / "clip.mp4")
    page = (folder / "README.md").read_text()
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert commands.startswith("npm ci\n")
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.removeprefix("npm ci\n")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": here},
    )
    assert done.returncode == 0, done.stderr
    assert "turning right" in done.stdout.splitlines()[-1]
    (snippet,) = re.findall(r"^```js\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code, said, complaint = node("--input-type=module", "-e", snippet, cwd=folder)
    assert code == 0, complaint
    assert "still" in said


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name
