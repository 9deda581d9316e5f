"""Archives from anywhere: what is in them arrives, and nothing of it outside of the folder."""

import gzip
import io
import lzma
import stat
import tarfile
import zipfile

import pytest

from egtr.hub import archives
from egtr.hub.archives import find_model, is_archive, unpack
from egtr.structures.errors import DownloadError
from tests.hub.released import make_zip

FILES = {"a/b/config.json": b"{}", "a/b/checkpoints/epoch=3.ckpt": b"weights", "a/empty": b""}


def make_tar(members, mode="w:gz"):
    """A tar archive of (name, content) pairs and ready TarInfos."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for member in members:
            info, content = (
                (member, None) if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            )
            if content is not None:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return target.getvalue()


def tar_entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(name, target):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return made.getvalue()


@pytest.fixture
def try_unpack(tmp_path):
    """A function that unpacks bytes, and returns the files in the folder; it fails if there are files beside it."""

    def run(content):
        path, folder = tmp_path / "archive", tmp_path / "inside" / "folder"
        path.write_bytes(content)
        try:
            unpack(path, folder)
        finally:
            outside = {entry for entry in tmp_path.rglob("*") if folder not in (entry, *entry.parents)}
            assert outside <= {path, folder.parent}
        files = (entry for entry in folder.rglob("*") if entry.is_file())
        return {entry.relative_to(folder).as_posix(): entry.read_bytes() for entry in files}

    return run


@pytest.mark.parametrize(
    "content",
    [make_zip(FILES), *(make_tar(FILES.items(), mode) for mode in ("w", "w:gz", "w:bz2", "w:xz"))],
    ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"],
)
def test_every_kind_arrives_whole(try_unpack, content, tmp_path):
    assert try_unpack(content) == FILES
    assert is_archive(tmp_path / "archive")


def test_a_tar_archive_that_ends_with_weights_is_no_zip(try_unpack):
    weights = make_zip({"archive/data.pkl": b"x"})
    assert try_unpack(make_tar([("m/checkpoints/epoch=1.ckpt", weights)], "w")) == {
        "m/checkpoints/epoch=1.ckpt": weights
    }


def test_weights_are_no_archive(tmp_path):
    (tmp_path / "weights").write_bytes(make_zip({"archive/data.pkl": b"", "archive/data/0": b""}))
    assert not is_archive(tmp_path / "weights")
    (tmp_path / "weights").write_bytes(b"something else")
    assert not is_archive(tmp_path / "weights")


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../../evil", "/evil", "a/../../inside/evil", "..", "/", "..\\evil", "a\\..\\..\\evil",
     "\\evil", "C:\\evil", "C:evil", "c:/evil", "\\\\server\\share\\evil"],
)  # fmt: skip
def test_names_that_lead_out_are_refused(try_unpack, name):
    for content in (make_zip({name: b"x"}), make_tar([(name, b"x")])):
        if name.endswith("/") and content[:2] == b"PK":
            continue  # a folder, of which nothing is written
        with pytest.raises(DownloadError, match="a name that leads out of its folder"):
            try_unpack(content)


@pytest.mark.parametrize(
    "content",
    [
        make_tar([tar_entry("a", tarfile.SYMTYPE, "/etc/passwd")]),
        make_tar([tar_entry("a", tarfile.SYMTYPE, "b"), ("b", b"x")]),
        make_tar([tar_entry("a", tarfile.SYMTYPE, ".."), ("a/evil", b"x")]),
        make_tar([("b", b"x"), tar_entry("a", tarfile.LNKTYPE, "b")]),
        make_tar([tar_entry("a", tarfile.FIFOTYPE)]),
        make_tar([tar_entry("a", tarfile.CHRTYPE)]),
        zip_link("a", "/etc/passwd"),
    ],
    ids=["link", "inner link", "link to a folder", "hard link", "pipe", "device", "zip link"],
)
def test_links_and_devices_are_refused(try_unpack, content):
    with pytest.raises(DownloadError, match="a is a link or device, which is refused"):
        try_unpack(content)


@pytest.mark.parametrize("make", [lambda files: make_zip(dict(files)), make_tar], ids=["zip", "tar"])
def test_bombs_end_at_the_limit(try_unpack, make, monkeypatch, tmp_path):
    monkeypatch.setattr(archives, "_FREE_GROWTH", 1_000_000)
    zeros = bytes(3_000_000)
    with pytest.raises(DownloadError, match="becomes more than 1 MB when it is unpacked"):
        try_unpack(make([("one", zeros)]))
    with pytest.raises(DownloadError, match="becomes more than 1 MB"):
        try_unpack(make([(f"{number}", zeros[:300_000]) for number in range(5)]))
    assert sum(path.stat().st_size for path in (tmp_path / "inside").rglob("*") if path.is_file()) < 3_000_000


def test_too_many_files_are_refused(try_unpack, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with pytest.raises(DownloadError, match="more than 3 files"):
        try_unpack(make_zip({str(number): b"" for number in range(5)}))


def test_backslashes_are_folders(try_unpack):
    """Some programs of Windows write them."""
    files = {name.replace("/", "\\"): content for name, content in FILES.items()}
    assert try_unpack(make_zip(files)) == try_unpack(make_tar(files.items())) == FILES


@pytest.mark.parametrize("cut", [512, 1023, 1025, 1300, 1536, 2047, 2900, 3073])
def test_a_tar_archive_that_ends_too_early(try_unpack, cut):
    """Within a file or a header, or before the whole of a file of one byte has come; tarfile takes most such ends."""
    content = make_tar([("a", b"x"), ("b", b"y"), ("c", b"z")], "w")
    assert try_unpack(content[: 3 * 1024 + 512]).keys() == {"a", "b", "c"}
    with pytest.raises(DownloadError, match="Fetch it again"):
        try_unpack(content[:cut])
    with pytest.raises(DownloadError, match="is no whole zip or tar archive .*Fetch it again"):
        try_unpack(content[:1024] + b"\xff" + content[1025:])


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_archive_without_zeros_at_its_end(try_unpack, mode, caplog):
    """It is whole, as far as anybody can tell: a cut between two files looks the same, so that a warning says so."""
    content = make_tar([("a", b"x"), ("b", b"y"), ("c", b"z")], "w")[: 3 * 1024]
    compress = {"w": bytes, "w:gz": gzip.compress, "w:xz": lzma.compress}[mode]
    assert try_unpack(compress(content)) == {"a": b"x", "b": b"y", "c": b"z"}
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("has no end mark; if files are missing, it was cut: fetch it again")


def test_names_that_no_disk_takes(try_unpack):
    with pytest.raises(DownloadError, match="holds a name that cannot be written"):
        try_unpack(make_zip({"a" * 300: b"x"}))


@pytest.mark.parametrize("cut", [0, 1, 50, -20])
@pytest.mark.parametrize("content", [make_zip(FILES), make_tar([("a", bytes(range(256)) * 99)])], ids=["zip", "tar"])
def test_damaged_archives_are_one_error(try_unpack, content, cut):
    with pytest.raises(DownloadError, match="Fetch it again"):
        try_unpack(content[:cut])


@pytest.mark.parametrize("cut", [5, 12, 40])
@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_compressed_archive_that_is_cut_in_its_header(mode, cut, try_unpack, tmp_path):
    """Only some of them can still be recognised; none ends in another error."""
    with pytest.raises(DownloadError, match="Fetch it again") as raised:
        try_unpack(make_tar([("a", b"text")], mode)[:cut])
    assert "\n" not in str(raised.value)
    assert is_archive(tmp_path / "archive") == (mode == "w:gz")


def test_changed_bytes_are_noticed(try_unpack):
    content = bytearray(make_zip({"a": b"text " * 100}))
    content[60] ^= 255
    with pytest.raises(DownloadError, match="Fetch it again"):
        try_unpack(bytes(content))


def test_a_file_and_a_folder_of_one_name(try_unpack):
    with pytest.raises(DownloadError, match="a file and a folder of one name"):
        try_unpack(make_tar([("a", b"x"), ("a/b", b"x")]))


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["config.json", "checkpoints/epoch=1.ckpt"], "."),
        (["VG/egtr__last.pth/version_0/config.json", "VG/egtr__last.pth/version_0/checkpoints/epoch=9.ckpt"],
         "VG/egtr__last.pth/version_0"),
        (["a/version_2/config.json", "a/version_2/checkpoints/epoch=1.ckpt", "a/version_10/config.json",
          "a/version_10/checkpoints/epoch=0.ckpt", "a/version_11/config.json"], "a/version_10"),
        (["config.json", "m/config.json", "m/metrics.json", "m/checkpoints/a.json",
          "m/checkpoints/epoch=1.ckpt"], "m"),
        (["m/config.json", "m/model.safetensors"], "m"),
        (["m/config.json", "m/pytorch_model.bin", "other/config.json", "other/checkpoints/epoch=1.json"], "m"),
        (["m/config.json", "m/checkpoints/epoch=1.ckpt", "__M/config.json", "__M/checkpoints/._epoch=1.ckpt"], "m"),
    ],
)  # fmt: skip
def test_the_folder_of_the_model_is_found(tmp_path, names, wanted):
    assert find_model(write(tmp_path, *names)) == tmp_path / wanted


def test_no_model_and_several_models_are_errors(tmp_path):
    write(tmp_path, "a/config.json", "a/checkpoints/last.ckpt")
    with pytest.raises(DownloadError, match="holds no released model"):
        find_model(tmp_path)
    write(tmp_path, "a/checkpoints/epoch=1.ckpt", "b/config.json", "b/model.safetensors")
    with pytest.raises(DownloadError, match="holds several models: a, b"):
        find_model(tmp_path)
