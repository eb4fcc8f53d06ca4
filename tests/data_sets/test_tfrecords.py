from pathlib import Path

import numpy as np
import pytest

from data_sets.records import clip, example, jpeg, records
from movinet.data.sources import open_data
from movinet.errors import ConfigError, VideoError
from movinet.network.config import InputSpec
from movinet.video.clips import read_views
from movinet.video.preprocessing import preprocess
from video.synthetic import number_of

LABEL = "clip/label/index"


def shown(media, times: list[float]) -> list[int]:
    return [number_of(image) for image in media.frames(times, 1e-3, [])]


def test_records_of_the_reference_are_samples(tmp_path):
    records(tmp_path / "train.tfrecord-00000-of-00002", [clip(1, 0), clip(0, 10)])
    records(tmp_path / "train.tfrecord-00001-of-00002", [clip(1, 20, 7)])
    data = open_data(tmp_path, labels=("cat", "dog"))
    assert [sample.labels for sample in data.samples] == [(1,), (0,), (1,)]
    assert len({sample.key for sample in data.samples}) == 3
    assert data.samples[2].media.extent() == (0.0, 7 / 25)  # of unknown rate: Kinetics's
    assert shown(data.samples[2].media, [0.0, 0.04, 0.075, 0.08, 5.0]) == [20, 21, 21, 22, 26]
    assert shown(data.samples[1].media, [0.0]) == [10]


def test_a_rate_that_a_record_says_counts(tmp_path):
    context = {LABEL: [0], "image/frame_rate": [10.0]}
    path = records(tmp_path / "a.tfrecord", [example(context, [jpeg(i) for i in range(5)])])
    media = open_data(path).samples[0].media
    assert media.extent() == (0.0, 0.5)
    assert shown(media, [0.0, 0.1, 0.45]) == [0, 1, 4]


def test_clips_of_records_are_those_of_any_video(tmp_path):
    path = records(tmp_path / "a.tfrecord", [clip(0, 0, 10)])
    media = open_data(path).samples[0].media
    spec = InputSpec(image_size=32, short_side=36, frame_rate=5, num_frames=3)
    found = read_views(media, spec, media.extent(), 0.0)[0]
    # Ten frames of 25 a second last 0.4 s, so the third frame is the first one again.
    expected = [preprocess(image, spec) for image in media.frames([0.0, 0.2], 1e-3, [])]
    np.testing.assert_array_equal(found.frames, np.stack([*expected, expected[0]]))
    assert shown(media, [0.2]) == [5]


def test_numbers_are_classes_and_gaps_do_not_move_them(tmp_path):
    train = records(tmp_path / "train.tfrecord", [clip(0), clip(3)])
    data = open_data(train)
    assert data.labels == ("0", "1", "2", "3")
    valid = records(tmp_path / "valid.tfrecord", [clip(2)])
    assert open_data(valid, labels=data.labels).samples[0].labels == (2,)


def test_a_labels_file_beside_the_records_names_the_numbers(tmp_path):
    records(tmp_path / "a.tfrecord", [clip(2), clip(0)])
    (tmp_path / "labels.txt").write_text("walk\nrun\njump\n")
    data = open_data(tmp_path)
    assert data.labels == ("walk", "run", "jump")
    assert [sample.labels for sample in data.samples] == [(2,), (0,)]
    other = open_data(tmp_path, labels=("jump", "walk"))
    assert [sample.labels for sample in other.samples] == [(0,), (1,)]


def test_names_in_the_records_come_before_numbers(tmp_path):
    """Numbers may count another list than the classes that are asked for."""
    named = example({LABEL: [0], "clip/label/text": [b"walk"]}, [jpeg(0)])
    path = records(tmp_path / "a.tfrecord", [named])
    assert open_data(path).labels == ("walk",)
    assert open_data(path, labels=("run", "walk")).samples[0].labels == (1,)


def test_records_may_have_several_labels(tmp_path):
    path = records(
        tmp_path / "a.tfrecord",
        [example({LABEL: [2, 0]}, [jpeg(0)]), example({LABEL: [1]}, [jpeg(0)])],
    )
    data = open_data(path, multi_label=True)
    assert [sample.labels for sample in data.samples] == [(2, 0), (1,)]
    with pytest.raises(ConfigError, match=r"record 0: has 2 labels \(2, 0\); .*multi_label"):
        open_data(path)


def test_opening_reads_no_pictures(tmp_path):
    """The data set may be larger than memory, and far away."""
    path = records(tmp_path / "a.tfrecord", [clip(0, 0, 4), clip(0, 4, 4)])
    data = bytearray(path.read_bytes())
    data[-100:-4] = bytes(96)  # in the last picture, before the checksum
    path.write_bytes(data)
    samples = open_data(path).samples
    assert shown(samples[0].media, [0.0]) == [0]
    with pytest.raises(VideoError, match=r"a\.tfrecord: record 1: damaged \(its checksum is wrong"):
        samples[1].media.extent()


def test_a_broken_picture_is_the_one_before_it_and_counted(tmp_path):
    images = [jpeg(0), jpeg(1)[:200], b"no picture", jpeg(3)]
    path = records(tmp_path / "a.tfrecord", [example({LABEL: [0]}, images)])
    skipped = []
    media = open_data(path).samples[0].media
    found = [number_of(i) for i in media.frames([0, 0.04, 0.08, 0.12], 1e-3, skipped)]
    assert found == [0, 0, 0, 3]
    assert [packet.time for packet in skipped] == [0.04, 0.08]
    assert [number_of(i) for i in media.frames([0.08], 1e-3, [])] == [0]
    path = records(tmp_path / "b.tfrecord", [example({LABEL: [0]}, [b"no picture"])])
    with pytest.raises(VideoError, match="not one picture can be decoded"):
        list(open_data(path).samples[0].media.frames([0.0], 1e-3, []))


def test_pictures_of_absurd_size_are_refused(tmp_path):
    huge = bytearray(jpeg(0))
    start = huge.index(b"\xff\xc0") + 5  # height and width in the frame header
    for size in (9000, 13000, 60000):
        huge[start : start + 4] = size.to_bytes(2, "big") * 2
        path = records(tmp_path / f"{size}.tfrecord", [example({LABEL: [0]}, [bytes(huge)])])
        media = open_data(path).samples[0].media
        with pytest.raises(VideoError, match=r"record 0: .*(pixels|too large)"):
            list(media.frames([0.0], 1e-3, []))


def damaged(tmp_path: Path, change) -> Path:
    path = records(tmp_path / "a.tfrecord", [clip(0), clip(1)])
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"a\.tfrecord: cut off in the record at byte \d+"),
        (lambda data: data + b"\0\0\0", r"cut off at byte \d+; copy it again"),
        (lambda data: b"\x01" + data[1:], "not a TFRecord file, or damaged at byte 0"),
        (lambda data: b"\x1f\x8b" + data, "not a TFRecord file, .*without compression"),
        (lambda _: b"\xff" * 64, "not a TFRecord file"),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path, change, message):
    with pytest.raises(VideoError, match=message):
        open_data(damaged(tmp_path, change))


def rated(feature: bytes) -> bytes:
    """A record whose frame rate is some bytes of a Feature."""
    key = b"\x0a\x10image/frame_rate" + b"\x12" + bytes([len(feature)]) + feature
    entry = b"\x0a" + bytes([len(key)]) + key
    rate = b"\x0a" + bytes([len(entry)]) + entry
    return example({LABEL: [0]}, [jpeg(0)]) + rate


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        (example({"other": [1]}, [jpeg(0)]), ConfigError, "record 0: has no label .clip/label/ind"),
        (example({LABEL: [7]}, [jpeg(0)]), ConfigError, "record 0: class 7; there are 2, counted"),
        (example({LABEL: [-1]}, [jpeg(0)]), ConfigError, "record 0: class -1"),
        (example({LABEL: [0]}), VideoError, "not a SequenceExample, .* no sequences"),
        (b"\x0b", VideoError, "not a SequenceExample, or damaged"),
        (b"\xff" * 30, VideoError, "not a SequenceExample, or damaged: .* more than 64 bits"),
        (b"\x0a\xff\x7f", VideoError, "not a SequenceExample, or damaged"),
        (b"", VideoError, "not a SequenceExample"),
        (rated(b"\x12\x09\x09" + b"\xff" * 8), VideoError, "a float has more than 32 bits"),
        (rated(b"\x12\x0b\x08" + b"\xff" * 9 + b"\1"), VideoError, "more than 32 bits"),
        (rated(b"\x12\x02\x08\x01"), ConfigError, "image/frame_rate must be frames per second"),
        (rated(b"\x0a\x06\x0a\x04\x1b[2J"), ConfigError, "image/frame_rate must be frames per"),
        (
            example({LABEL: [0], "image/frame_rate": [0.0]}, [jpeg(0)]),
            ConfigError,
            r"image/frame_rate must be frames per second, 0.1 to 1000, not 0\.0",
        ),
    ],
)
def test_a_record_that_is_not_allowed_is_one_error(tmp_path, record, error, message):
    path = records(tmp_path / "a.tfrecord", [record])
    with pytest.raises(error, match=message) as caught:
        open_data(path, labels=("a", "b"))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_enormous_label_is_no_number_of_classes(tmp_path):
    path = records(tmp_path / "a.tfrecord", [example({LABEL: [1 << 62]}, [jpeg(0)])])
    with pytest.raises(ConfigError, match=f"a label is class {1 << 62}; at most"):
        open_data(path)


def test_a_record_without_frames_says_so_when_it_is_read(tmp_path):
    other = example({LABEL: [0]}, [jpeg(0)]).replace(b"image/encoded", b"image/elsewhe")
    path = records(tmp_path / "a.tfrecord", [other])
    with pytest.raises(VideoError, match=r"record 0: has no frames \(image/encoded\)"):
        open_data(path).samples[0].media.extent()


def test_no_records_are_no_samples(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.tfrecord: no samples"):
        open_data(records(tmp_path / "a.tfrecord", []))


def test_frames_are_rgb_of_the_stored_size(tmp_path):
    media = open_data(records(tmp_path / "a.tfrecord", [clip(0, 5)])).samples[0].media
    image = next(iter(media.frames([0.0], 1e-3, [])))
    assert (image.shape, image.dtype) == ((64, 80, 3), np.uint8)
