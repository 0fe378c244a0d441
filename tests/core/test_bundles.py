"""Files of folders and archives, which may come from anybody."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from llmtest.core import bundles
from llmtest.core.bundles import BundleError, read_files


def is_text(name: str) -> bool:
    return name.endswith(".txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name, text in {"b.txt": "2", "a/a.txt": "1", "a/other.md": "3"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return tmp_path / "bundle.zip"


def test_a_folder_and_an_archive_have_the_same_files(folder: Path, archive: Path) -> None:
    expected = [("a/a.txt", b"1"), ("b.txt", b"2")]

    assert list(read_files(folder, is_text)) == expected
    assert list(read_files(archive, is_text)) == expected


def test_a_name_that_leads_elsewhere_is_only_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil.txt", "x")

    assert list(read_files(tmp_path / "evil.zip", is_text)) == [("../../evil.txt", b"x")]
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_link_in_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")

    assert [name for name, _ in read_files(folder, is_text)] == ["a/a.txt", "b.txt"]


def test_what_is_neither_is_an_error(tmp_path: Path, folder: Path) -> None:
    missing = tmp_path / "none"

    with pytest.raises(BundleError, match=r"none is no folder and no file$"):
        list(read_files(missing, is_text))
    with pytest.raises(BundleError, match=r"b\.txt is no zip archive$"):
        list(read_files(folder / "b.txt", is_text))


def test_a_damaged_archive_is_an_error(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.index(b"1\x00") if b"1\x00" in data else 40] ^= 0xFF
    damaged = bytes(data).replace(b"PK\x03\x04", b"PK\x03\x05")
    archive.write_bytes(damaged)

    with pytest.raises(BundleError, match=r"bundle\.zip cannot be read: "):
        list(read_files(archive, is_text))


@pytest.mark.parametrize(("limit", "most"), [("MAX_BYTES", 1), ("MAX_FILES", 1)])
def test_too_much_is_an_error(folder: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setattr(bundles, limit, most)

    for path in (folder, archive):
        with pytest.raises(BundleError, match=r" has more than "):
            list(read_files(path, is_text))


def test_one_large_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_BYTES", 0)

    with pytest.raises(BundleError, match=r"a\.txt is larger than 0 MiB$"):
        list(read_files(folder, is_text))
