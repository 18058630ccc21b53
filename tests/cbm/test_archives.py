import io
import stat
import tarfile
import zipfile

import pytest

from cbm.archive_limits import Limits
from cbm.archives import opened, unpack
from cbm.errors import DataError

LIMITS = Limits()


def zipped(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(path, tmp_path, match, limits=LIMITS):
    target = tmp_path / "unpacked"
    with pytest.raises(DataError, match=match):
        unpack(path, target, limits=limits)
    assert not target.exists()


def test_files_come_out_with_their_bytes_and_without_what_systems_add(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/1.png": b"one", "__MACOSX/cat/._1.png": b"x", "cat/.DS_Store": b"y"})

    unpack(path, tmp_path / "out")

    found = {
        file.relative_to(tmp_path / "out").as_posix(): file.read_bytes() for file in (tmp_path / "out").rglob("*.*")
    }
    assert found == {"cat/1.png": b"one"}


def test_the_temporary_folder_is_gone_after_use(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/1.png": b"one"})

    with opened(path) as folder:
        assert (folder / "cat" / "1.png").read_bytes() == b"one"

    assert not folder.exists()


def test_a_folder_is_opened_as_itself(tmp_path):
    with opened(tmp_path) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("name", ["../evil.png", "cat/../../evil.png", "/etc/evil.png", "C:/evil.png", "cat\\evil.png"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name):
    path = zipped(tmp_path / "a.zip", {"cat/1.png": b"one", name: b"two"})

    refused(path, tmp_path, "climbs out|not relative")

    assert not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("cat/1.png")
    entry.external_attr = (kind | 0o644) << 16
    path = zipped(tmp_path / "a.zip", {entry: b"/etc/passwd"})

    refused(path, tmp_path, "link or a device")


def test_a_bomb_stops_at_the_ratio(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/1.bmp": bytes(300 * 2**20)}, zipfile.ZIP_DEFLATED)

    refused(path, tmp_path, "zip bomb")


def test_a_bomb_that_lies_about_its_size_is_counted_as_it_is_written(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/1.bmp": bytes(3 * 2**20)}, zipfile.ZIP_DEFLATED)
    honest = (3 * 2**20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(honest, (10).to_bytes(4, "little")))

    refused(path, tmp_path, "can be unpacked")


def test_many_small_files_of_zeros_are_a_bomb_together(tmp_path):
    files = {f"cat/{number}.bmp": bytes(2**20) for number in range(8)}
    path = zipped(tmp_path / "a.zip", files, zipfile.ZIP_DEFLATED)

    refused(path, tmp_path, "zip bomb")


def test_the_limit_of_a_file_and_of_the_whole_hold_for_the_true_bytes(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.png": b"12345", "b.png": b"12345"})

    refused(path, tmp_path, "the limit for a file", Limits(file_bytes=4))
    refused(path, tmp_path, "the limit", Limits(total_bytes=9))
    refused(path, tmp_path, "2 entries; the limit is 1", Limits(entries=1))


def test_an_archive_in_an_archive_is_refused(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("1.png", b"one")

    refused(zipped(tmp_path / "a.zip", {"cat/more.zip": inner.getvalue()}), tmp_path, "another archive")


def test_the_same_name_twice_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/1.png", b"two")

    refused(path, tmp_path, "twice")


def test_a_very_deep_path_is_refused(tmp_path):
    refused(zipped(tmp_path / "a.zip", {"a/" * 40 + "1.png": b"one"}), tmp_path, "folders deep")


def test_an_encrypted_entry_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", {"1.png": b"one"})
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(data)

    refused(path, tmp_path, "encrypted")


def test_a_text_file_called_zip_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_text("not an archive")

    refused(path, tmp_path, "can be unpacked")


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path):
    refused(zipped(tmp_path / "a.zip", {"cat": b"one", "cat/1.png": b"two"}), tmp_path, "cannot be unpacked")


def tarred(path, files, mode="w:gz"):
    """A tar file of names and bytes, or of entries that are made as they are."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz")])
def test_a_tar_file_comes_out_with_its_bytes_and_without_what_systems_add(tmp_path, name, mode):
    path = tarred(tmp_path / name, {"./cat/1.png": b"one", "cat/._1.png": b"x", "cat/.DS_Store": b"y"}, mode)

    with opened(path) as folder:
        assert [file.read_bytes() for file in folder.rglob("*.*")] == [b"one"]
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../evil.png", "cat/../../evil.png", "/etc/evil.png", "C:/evil.png", "cat\\evil.png"])
def test_a_tar_entry_that_leaves_the_folder_is_refused(tmp_path, name):
    refused(tarred(tmp_path / "a.tar.gz", {"cat/1.png": b"one", name: b"two"}), tmp_path, "climbs out|not relative")

    assert not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_file_are_refused(tmp_path, kind):
    entry = tarfile.TarInfo("cat/1.png")
    entry.type, entry.linkname = kind, "/etc/passwd"

    refused(tarred(tmp_path / "a.tar", {entry: b""}, "w"), tmp_path, "link or a device")


def test_a_tar_bomb_a_damaged_one_and_a_doubled_name_are_refused(tmp_path):
    refused(tarred(tmp_path / "bomb.tgz", {"cat/1.bmp": bytes(20 * 2**20)}), tmp_path, "zip bomb")
    (tmp_path / "text.tgz").write_text("not an archive")
    refused(tmp_path / "text.tgz", tmp_path, "can be unpacked")
    cut = tarred(tmp_path / "cut.tgz", {"cat/1.png": bytes(range(256)) * 40})
    cut.write_bytes(cut.read_bytes()[:-60])
    refused(cut, tmp_path, "can be unpacked")
    first, second = tarfile.TarInfo("cat/1.png"), tarfile.TarInfo("cat/1.png")
    refused(tarred(tmp_path / "twice.tar", {first: b"one", second: b"two"}, "w"), tmp_path, "twice")
    refused(tarred(tmp_path / "nested.tar", {"cat/more.zip": b"PK"}, "w"), tmp_path, "another archive")


def test_the_limits_hold_for_tar_files_too(tmp_path):
    path = tarred(tmp_path / "a.tar", {"a.png": b"12345", "b.png": b"12345"}, "w")

    refused(path, tmp_path, "the limit for a file", Limits(file_bytes=4))
    refused(path, tmp_path, "the limit", Limits(total_bytes=9))
    refused(path, tmp_path, "more than 1 entries", Limits(entries=1))


def test_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path):
    entry = tarfile.TarInfo("cat/1.png")
    entry.pax_headers = {"comment": "x" * 3 * 2**20}

    refused(tarred(tmp_path / "a.tar", {entry: b"one"}, "w"), tmp_path, "header that is too large")
