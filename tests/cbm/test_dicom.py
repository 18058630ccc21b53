"""DICOM files made here, with a patient in every place where one may be written."""

import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from cbm.data import preflight, read_dataset
from cbm.dicom import Options, pseudonym, read_plain, read_window, windowed
from cbm.dicom_rows import with_pictures
from cbm.errors import DataError, UsageError
from cbm.images import UnreadableImage
from cbm.importing import import_dataset
from cbm.incoming import listed
from cbm.layouts import list_images

pydicom = pytest.importorskip("pydicom")

SALT = b"s" * 32
SECRETS = ("DOE", "JANE", "MRN-778899", "19601231", "Mercy", "1.2.3.99", "phi-in-a-private-tag", "phi in a comment")


def scan(path, values, *, patient="MRN-778899", **tags):
    """A DICOM file of these stored values, uncompressed, with a patient all over it."""
    values = np.asarray(values)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.99.1"
    data.PatientName, data.PatientID, data.PatientBirthDate = "DOE^JANE", patient, "19601231"
    data.InstitutionName, data.StudyInstanceUID, data.ImageComments = "Mercy", "1.2.3.99.2", "phi in a comment"
    data.private_block(0x0011, "MAKER", create=True).add_new(0x01, "LO", "phi-in-a-private-tag")
    data.Modality, data.BodyPartExamined, data.PixelSpacing = "CT", "CHEST", [0.5, 0.5]
    frames = values.ndim == 3 and values.shape[2] != 3
    data.Rows, data.Columns = values.shape[1:] if frames else values.shape[:2]
    if frames:
        data.NumberOfFrames = len(values)
    colour = values.ndim == 3 and not frames
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        data.PlanarConfiguration = 0
    bits = values.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def pixels(path, **options):
    return np.asarray(read_plain(path, Options(**options), SALT).picture)


RAMP = np.array([[0, 500, 1000, 1500, 2000]], np.int16)


def test_stored_values_are_rescaled_and_go_through_the_window_that_is_asked_for(tmp_path):
    path = scan(tmp_path / "a.dcm", RAMP, RescaleSlope=1, RescaleIntercept=-1000)

    # -1000, -500, 0, 500, 1000 through center 0, width 1001: 0 below -500.5, 255 above 499.5, else (x + 0.5) / 1000 + 0.5
    np.testing.assert_array_equal(pixels(path, window="0,1001"), [[0, 0, 128, 255, 255]])


def test_the_window_of_the_file_is_used_and_the_first_of_several(tmp_path):
    one = scan(tmp_path / "a.dcm", RAMP, WindowCenter=1000, WindowWidth=2000)
    several = scan(tmp_path / "b.dcm", RAMP, WindowCenter=["1000", "40"], WindowWidth=["2000", "400"])

    # (x - 999.5) / 1999 + 0.5 of 255
    np.testing.assert_array_equal(pixels(one), [[0, 64, 128, 191, 255]])
    np.testing.assert_array_equal(pixels(several), pixels(one))


def test_other_window_functions_are_those_of_the_standard():
    values = np.array([[0.0, 50.0, 100.0]])

    np.testing.assert_array_equal(windowed(values, 50, 100, "LINEAR_EXACT"), [[0, 128, 255]])
    np.testing.assert_array_equal(windowed(values, 50, 100, "SIGMOID"), [[30, 128, 225]])  # 255 / (1 + exp(2)) = 30.4
    np.testing.assert_array_equal(windowed(values, 50, 1), [[0, 255, 255]])  # a width of 1 is a threshold


def test_without_a_window_the_middle_98_percent_are_stretched_and_padding_is_left_aside(tmp_path):
    values = np.arange(101, dtype=np.int16).reshape(1, 101)
    plain = scan(tmp_path / "a.dcm", values)
    padded = np.concatenate([values, np.full((1, 101), -2000, np.int16)])
    stretched = np.clip((np.arange(101) - 50) / 98 + 0.5, 0, 1) * 255

    np.testing.assert_array_equal(pixels(plain)[0], np.rint(stretched))
    path = scan(tmp_path / "b.dcm", padded)
    data = pydicom.dcmread(path)
    data.add_new("PixelPaddingValue", "SS", -2000)
    data.save_as(path)
    np.testing.assert_array_equal(pixels(path)[0], np.rint(stretched))


def test_a_table_in_the_file_is_used(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor = [3, 0, 8]
    table.LUTData = [0, 255, 51]
    path = scan(tmp_path / "a.dcm", np.array([[0, 1, 2]], np.uint8))
    data = pydicom.dcmread(path)
    table.add_new("LUTDescriptor", "US", [3, 0, 8])
    table.add_new("LUTData", "US", [0, 255, 51])
    data.VOILUTSequence = [table]
    data.save_as(path)

    np.testing.assert_array_equal(pixels(path), [[0, 255, 51]])


def test_monochrome1_is_inverted_and_colours_stay(tmp_path):
    grey = np.array([[0, 255]], np.uint8)
    colour = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    dark = scan(tmp_path / "a.dcm", grey, PhotometricInterpretation="MONOCHROME1", WindowCenter=128, WindowWidth=256)

    np.testing.assert_array_equal(pixels(dark), [[255, 0]])
    np.testing.assert_array_equal(pixels(scan(tmp_path / "b.dcm", colour)), colour)


def test_the_first_or_the_middle_frame_is_taken(tmp_path):
    frames = np.stack([np.full((2, 2), 50 * n, np.uint8) for n in range(5)])
    path = scan(tmp_path / "a.dcm", frames, WindowCenter=128, WindowWidth=256)

    assert pixels(path).tolist() == [[0, 0], [0, 0]]
    assert pixels(path, frame="middle").tolist() == [[100, 100], [100, 100]]


def test_compressed_pixels_are_decoded(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    path = scan(tmp_path / "a.dcm", values, WindowCenter=128, WindowWidth=256)
    plain = pixels(path)
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(path)

    np.testing.assert_array_equal(pixels(path), plain)


def test_jpeg_pixels_are_decoded(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))).save(buffer, "JPEG", quality=95)
    path = scan(tmp_path / "a.dcm", np.zeros((16, 16), np.uint8), WindowCenter=128, WindowWidth=256)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    data.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    data.save_as(path)

    np.testing.assert_array_equal(pixels(path), np.asarray(Image.open(buffer)))


@pytest.mark.parametrize("text", ["40", "40,0", "a,b", "1,2,3", "nan,5", "", "40,-1"])
def test_a_window_is_two_numbers(text):
    with pytest.raises(UsageError, match="is not CENTER,WIDTH"):
        read_window(text)


def test_files_that_are_no_pictures_end_in_words_that_quote_nothing(tmp_path):
    (tmp_path / "text.dcm").write_text("Patient DOE^JANE")
    huge = scan(tmp_path / "huge.dcm", RAMP)
    data = pydicom.dcmread(huge)
    data.Rows, data.Columns = 20_000, 20_000
    data.save_as(huge)
    cut = scan(tmp_path / "cut.dcm", np.zeros((50, 50), np.uint8))
    cut.write_bytes(cut.read_bytes()[:-1000])
    deflated = scan(tmp_path / "deflated.dcm", RAMP)
    data = pydicom.dcmread(deflated)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(deflated)
    empty = scan(tmp_path / "empty.dcm", RAMP)
    data = pydicom.dcmread(empty)
    del data.Rows, data.PixelData
    data.save_as(empty)

    told = {}
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(UnreadableImage) as caught:
            read_plain(path, Options(), SALT)
        told[path.stem] = caught.value
    assert {name: error.fault for name, error in told.items()} == {
        "cut": "unreadable", "deflated": "unreadable", "empty": "unreadable", "huge": "too_large", "text": "unreadable",
    }  # fmt: skip
    assert not any(secret in error.message for error in told.values() for secret in SECRETS)


def clinic(root):
    """Two classes of three scans, three patients, names in the file names too; one warns of letters in its pixels."""
    rng = np.random.default_rng(1)
    for number in range(6):
        values = rng.integers(0, 2000, (8, 9)).astype(np.int16)
        label, patient = ("ill", "well")[number % 2], f"MRN-778899-{number // 2}"
        extra = {"BurnedInAnnotation": "YES"} if number == 5 else {}
        scan(root / label / f"DOE_JANE_{number}.dcm", values, patient=patient, **extra)
    return root


def written(folder):
    return b"".join(path.read_bytes() + str(path).encode() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_trace_of_the_patient_is_in_anything_that_is_written(tmp_path):
    dataset, report = import_dataset(clinic(tmp_path / "in"), tmp_path / "out", salt=SALT)

    content = written(tmp_path / "out") + str(report.to_json()).encode() + repr(dataset).encode()
    for secret in SECRETS:
        assert secret.encode() not in content
    assert not list((tmp_path / "out").rglob("*.dcm"))
    assert {path.suffix for path in dataset.paths} == {".png"}
    assert all(Image.open(io.BytesIO(path.read_bytes())).info == {} for path in dataset.paths)
    assert len(dataset) == 6


def test_patients_are_groups_by_a_salted_hash(tmp_path):
    with listed(clinic(tmp_path / "in"), salt=SALT) as listing:
        groups = [row.group for row in listing.rows]
        assert groups == [pseudonym(f"MRN-778899-{n // 2}\0", SALT) for n in (0, 2, 4, 1, 3, 5)]
        assert len(set(groups)) == 3
        assert [row.path for row in listing.rows] == [f"dicom-{n}" for n in range(1, 7)]
        assert [(p.kind, p.path) for p in listing.problems] == [("burned_in", "dicom-6")]
        assert listing.source.says == "6 DICOM files of 3 patients, without their names."
        facts = dict(zip(listing.extras, listing.rows[0].extra, strict=True))
    assert (facts["meta:dicom Modality"], facts["meta:dicom PixelSpacing"], facts["meta:dicom Rows"]) == (
        "CT",
        "0.5 0.5",
        "8",
    )

    with listed(tmp_path / "in") as other, listed(tmp_path / "in") as again:
        assert not {row.group for row in other.rows} & {row.group for row in again.rows}


def test_a_patient_in_two_splits_is_told(tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (4, 6, 6), dtype=np.uint8)
    for number, place in enumerate(("train/ill", "train/well", "test/ill", "test/well")):
        scan(tmp_path / place / f"{number}.dcm", values[number], patient=str(number % 3))

    (problem,) = [p for p in preflight(tmp_path).problems if p.kind == "group_across_splits"]
    assert "patient-" in problem.detail


def test_a_manifest_may_name_dicom_files_and_its_groups_are_hashed_too(tmp_path):
    scan(tmp_path / "a.dcm", RAMP)
    scan(tmp_path / "b.dcm", RAMP[:, ::-1].copy())
    (tmp_path / "manifest.csv").write_text("path,label,group\na.dcm,ill,MRN-778899\nb.dcm,well,\n../c.dcm,well,\n")

    with listed(tmp_path, salt=SALT) as listing:
        assert [row.group for row in listing.rows[:2]] == [
            pseudonym("MRN-778899", SALT),
            pseudonym("MRN-778899\0", SALT),
        ]
        assert [(p.kind, p.path) for p in listing.problems] == [("unreadable", "dicom-3")]
        assert "file 3 in the order of the list" in listing.problems[0].detail


def test_names_of_files_are_not_in_the_problems_of_the_list(tmp_path):
    clinic(tmp_path / "in")
    scan(tmp_path / "in" / "DOE_stray.dcm", RAMP)

    with listed(tmp_path / "in") as listing:
        assert "DOE" not in str(listing.problems)
        assert ("stray", "a DICOM file") in [(p.kind, p.path) for p in listing.problems]


def test_an_archive_of_scans_is_taken_too(tmp_path):
    clinic(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted((tmp_path / "in").rglob("*.dcm")):
            archive.write(file, file.relative_to(tmp_path))

    assert preflight(tmp_path / "a.zip", options={"window": "1000,2000"}).images == 6


def test_scans_are_never_used_where_they_lie_and_options_need_them(tmp_path):
    with pytest.raises(DataError, match="holds DICOM files") as caught:
        read_dataset(clinic(tmp_path / "in"))
    assert "--reference" in caught.value.hint

    Image.new("L", (4, 4)).save(scan(tmp_path / "b" / "ill" / "1.dcm", RAMP).with_name("2.png"))
    (tmp_path / "b" / "ill" / "1.dcm").unlink()
    with pytest.raises(UsageError, match="'window' is for DICOM files"):
        list_images(tmp_path / "b", options={"window": "1,2"})


def test_without_pydicom_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    listing = list_images(clinic(tmp_path / "in"), into=tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)

    with pytest.raises(DataError, match="DICOM files need pydicom") as caught:
        preflight(tmp_path / "in")
    assert caught.value.hint == "pip install 'pellucid[dicom]'"
    assert with_pictures(listing, tmp_path, {}).source.options["window"] == "auto"
