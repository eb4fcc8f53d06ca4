from pathlib import Path

import pytest

from movinet.data.sources import open_data
from movinet.errors import ConfigError, VideoError

HEADER = "label,youtube_id,time_start,time_end,split\n"


def annotations(tmp_path: Path, text: str, *videos: str) -> Path:
    for name in videos:
        file = tmp_path / "videos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    path = tmp_path / "train.csv"
    path.write_text(text, encoding="utf-8")
    return path


def opened(tmp_path: Path, text: str, *videos: str, **options):
    return open_data(annotations(tmp_path, text, *videos), root=tmp_path / "videos", **options)


def test_clips_are_found_by_their_usual_names(tmp_path):
    data = opened(
        tmp_path,
        HEADER + "playing chess,-a_0,5,15,train\n"
        '"juggling, fire",b,0,10,train\nabseiling,c,100,110,train\nabseiling,c,7.5,17.5,train\n',
        "-a_0_000005_000015.mp4",
        "train/juggling fire/b_000000_000010.mkv",
        "abseiling/c.webm",
    )
    assert data.labels == ("abseiling", "juggling, fire", "playing chess")
    assert [s.key for s in data.samples] == ["-a_0_5_15", "b_0_10", "c_100_110", "c_7.5_17.5"]
    # A cut clip is taken whole; of a whole video the annotated part.
    assert [(s.start, s.end) for s in data.samples] == [
        (None, None), (None, None), (100, 110), (7.5, 17.5),
    ]  # fmt: skip
    assert [s.group for s in data.samples] == ["-a_0", "b", "c", "c"]
    names = [s.media.name for s in data.samples]
    assert names[0] == f"{tmp_path}/videos/-a_0_000005_000015.mp4"
    assert names[2] == names[3] == f"{tmp_path}/videos/abseiling/c.webm"


def test_of_several_videos_the_one_in_the_folder_of_the_label_is_taken(tmp_path):
    text = HEADER + "do it,a,0,10,train\n"
    data = opened(tmp_path, text, "any/a.mp4", "do_it/a.mp4", "a_000000_000011.mp4")
    assert data.samples[0].media.name == f"{tmp_path}/videos/do_it/a.mp4"


def test_a_label_names_no_folder_outside(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(VideoError, match="none of its 1 videos is in"):
        opened(tmp_path, HEADER + "..,a,0,10,train\n", "other.mp4")
    with pytest.raises(VideoError, match="none of its 1 videos is in"):
        opened(tmp_path, HEADER + "x,../a,0,10,train\n", "other.mp4")


def test_missing_videos_are_counted_and_told(tmp_path):
    rows = "".join(f"x,v{i},0,10,train\n" for i in range(5))
    with pytest.warns(
        UserWarning, match=r"train\.csv: 3 of 5 videos are not in .*, v1_0_10 the fi"
    ):
        data = opened(tmp_path, HEADER + rows, "v0.mp4", "v3.mp4")
    assert len(data) == 2


def test_classes_of_missing_videos_need_a_list(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 videos"):
        data = opened(
            tmp_path, HEADER + "x,a,0,10,t\ny,b,0,10,t\n", "b.mp4", labels=("x", "y", "z")
        )
    assert data.samples[0].labels == (1,)


def test_repeated_rows_are_samples_of_their_own(tmp_path):
    data = opened(
        tmp_path, HEADER + "x,a,0,10,t\ny,b,0,10,t\n" + "x,a,0,10,t\n" * 2, "a.mp4", "b.mp4"
    )
    assert [sample.key for sample in data.samples] == ["a_0_10", "b_0_10", "a_0_10#2", "a_0_10#3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("youtube_id,time_start,time_end,split\n", "line 1: the column 'label' is missing; Kineti"),
        (HEADER.replace("split", "label"), "line 1: a column stands twice"),
        (HEADER, "no samples"),
        (HEADER + "x,a,0,10\n", "line 2: 4 cells for the 5 columns"),
        (HEADER + "x,,0,10,train\n", "line 2: youtube_id is empty"),
        (HEADER + " ,a,0,10,train\n", "line 2: label is empty"),
        (HEADER + "x,a,ten,10,train\n", "line 2: time_start must be seconds from 0 on, not 'ten'"),
        (HEADER + "x,a,10,10,train\n", "line 2: time_end 10 must be after time_start 10"),
        (
            HEADER + "x,a,0,10,t\ny,a,0,10,t\n",
            r"line 3: a_0_10 is on line 2 with another label \(x, here y\); correct one",
        ),
        (HEADER + "x,a,0,10,train\nx,b,0,10,val\n", "several splits .train on line 2, val on line"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        opened(tmp_path, text, "a.mp4", "b.mp4")
    assert str(caught.value).startswith(f"{tmp_path}/train.csv")


def test_what_is_no_text_and_no_folder_is_one_line(tmp_path):
    path = annotations(tmp_path, "", "a.mp4")
    path.write_bytes(HEADER.encode() + b"x\xff,a,0,10,t\n")
    with pytest.raises(ConfigError, match=r"train\.csv, line 2: .* it is not UTF-8 text"):
        open_data(path)
    path.write_text(HEADER + "x,a,0,10,t\n")
    with pytest.raises(VideoError, match=r"nowhere: no such file or folder; give the folder of th"):
        open_data(path, root=tmp_path / "nowhere")
