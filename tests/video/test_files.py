from pathlib import Path

import pytest

from movinet.errors import VideoError
from movinet.video import find_videos


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, *names: str) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in find_videos([folder / n for n in names])]


def test_folders_are_searched_in_natural_order(tmp_path):
    touch(tmp_path, "a/clip10.mp4", "a/clip2.MP4", "a/b/deep.webm", "a/clip1.mov", "a/notes.txt")
    assert found(tmp_path, "a") == ["a/b/deep.webm", "a/clip1.mov", "a/clip2.MP4", "a/clip10.mp4"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, "a/.hidden.mp4", "a/.git/x.mp4", "a/x.mp4")
    assert found(tmp_path, "a") == ["a/x.mp4"]
    assert found(tmp_path, "a/.git") == ["a/.git/x.mp4"]


def test_the_order_given_is_kept_and_nothing_comes_twice(tmp_path):
    touch(tmp_path, "z.mp4", "a/1.mp4", "a/2.mp4", "strange.name")
    assert found(tmp_path, "z.mp4", "a/2.mp4", "a", "strange.name", "z.mp4") == [
        "z.mp4", "a/2.mp4", "a/1.mp4", "strange.name",
    ]  # fmt: skip


def test_links_in_a_circle_end(tmp_path):
    touch(tmp_path, "a/1.mp4")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    assert found(tmp_path, "a") == ["a/1.mp4"]


def test_nothing_found_is_an_error(tmp_path):
    touch(tmp_path, "a/notes.txt")
    with pytest.raises(VideoError, match="no video in this folder"):
        found(tmp_path, "a")
    with pytest.raises(VideoError, match="no such file or folder"):
        found(tmp_path, "missing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty name"),
        ("https://x/y.mp4", "https://x/y.mp4: no such file .only local files are read, no URLs"),
        ("n" * 300, "cannot be read"),  # the system refuses to look it up
    ],
)
def test_what_is_no_local_file_is_one_error(name, message):
    with pytest.raises(VideoError, match=message):
        find_videos([name])


def test_a_local_file_may_look_like_a_url(tmp_path, monkeypatch):
    touch(tmp_path, "http:/x/y.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_videos(["http://x/y.mp4"]) == [Path("http:/x/y.mp4")]
