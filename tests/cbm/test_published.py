"""Every published layout, against miniature copies whose answers are known by hand."""

import math
import zipfile

import numpy as np
import pytest

from cbm.data import preflight, read_dataset
from cbm.errors import DataError, PellucidError, UnknownName, UsageError
from cbm.importing import import_dataset
from cbm.layouts import LAYOUTS, list_images
from cbm.published import MODULES, TITLES, published
from tests.cbm.miniatures import MAKERS, awa2, celeba, cub, derm7pt, picture, skincon, text, wbcatt

SIZES = {"cub": (4, 3), "awa2": (6, 3), "celeba": (4, 2), "derm7pt": (4, 12), "wbcatt": (4, 27), "skincon": (3, 3)}


def by_name(listing):
    """Of each image, by its file's name, what is listed."""
    return {row.path.rsplit("/", 1)[-1]: row for row in listing.rows}


def concepts(listing, name):
    """The concepts of one image that are not absent."""
    row = by_name(listing)[name]
    return {name: value for name, value in zip(listing.concepts, row.concepts, strict=True) if value != 0}


def told(listing):
    return [(problem.kind, problem.level) for problem in listing.problems]


@pytest.mark.parametrize("name", MODULES)
def test_each_is_recognised_by_itself_and_by_name_and_all_its_files_are_there(name, tmp_path):
    top = MAKERS[name](tmp_path / "somewhere")

    listing = list_images(top)

    assert repr(listing) == repr(list_images(top, name))  # an unknown value equals nothing
    assert (len(listing.rows), len(listing.concepts)) == SIZES[name]
    assert (listing.source.layout, listing.source.title) == (name, TITLES[name])
    assert listing.source.says.startswith(f"This is {published(name).title}: {len(listing.concepts)} ")
    assert all((listing.source.title, listing.source.terms, listing.source.contact, listing.source.cite))
    assert [problem.kind for problem in preflight(top).errors] == []
    assert all((listing.root / row.path).is_file() and row.label for row in listing.rows)
    assert {len(row.concepts) for row in listing.rows} == {len(listing.concepts)}
    assert {len(row.extra) for row in listing.rows} == {len(listing.extras)}


@pytest.mark.parametrize("name", MODULES)
def test_each_is_read_from_a_zip_that_wraps_it(name, tmp_path):
    top = MAKERS[name](tmp_path / "wrapped")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(top.rglob("*")):
            archive.write(file, file.relative_to(tmp_path))

    dataset, report = import_dataset(tmp_path / "a.zip", tmp_path / "stored")

    assert (len(dataset), len(dataset.concepts)) == SIZES[name]
    assert report.to_json()["source"]["layout"] == name


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_option_and_a_wrong_folder_are_refused_in_words(name, tmp_path):
    with pytest.raises(UsageError, match="no option named 'colour'"):
        list_images(MAKERS[name](tmp_path / "there"), name, options={"colour": "red"})

    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is not") as caught:
        list_images(tmp_path / "empty", name)
    assert published(name).telltales[0] in caught.value.message


@pytest.mark.parametrize("name", MODULES)
def test_without_its_pictures_it_ends_in_a_sentence(name, tmp_path):
    top = MAKERS[name](tmp_path)
    for file in [*top.rglob("*.jpg")]:
        file.unlink()
    for folder in sorted((f for f in top.rglob("*") if f.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()

    with pytest.raises(PellucidError, match=f"{published(name).title}: there is no") as caught:
        list_images(top)
    assert published(name).tree in caught.value.hint


@pytest.mark.parametrize("name", MODULES)
def test_a_manifest_of_ours_in_the_folder_comes_first(name, tmp_path):
    top = MAKERS[name](tmp_path)
    text(top / "manifest.csv", "path,label\n")

    assert list_images(top).source.layout == "manifest"


def test_class_folders_know_no_options(tmp_path):
    picture(tmp_path / "owl" / "1.jpg")

    with pytest.raises(UsageError, match="no option 'label'"):
        list_images(tmp_path, options={"label": "Smiling"})
    assert set(MODULES) < set(LAYOUTS)


def test_cub_has_what_each_annotator_saw_and_how_certain_they_were(tmp_path):
    listing = list_images(cub(tmp_path))
    first = by_name(listing)["Black_footed_Albatross_0001.jpg"]

    assert listing.concepts == ("bill shape::curved (up or down)", "bill shape::dagger", "size::small (5 - 9 in)")
    assert [(row.label, row.split) for row in listing.rows] == [
        ("Black footed Albatross", "train"),
        ("Black footed Albatross", "train"),
        ("Laysan Albatross", "train"),
        ("Laysan Albatross", "test"),
    ]
    np.testing.assert_array_equal(
        [row.concepts for row in listing.rows], [[1, 0, np.nan], [0, 0, 1], [0, 1, np.nan], [np.nan, 1, 1]]
    )
    columns = dict(zip(listing.extras, first.extra, strict=True))
    assert columns == {
        "cw:bill shape::curved (up or down)": "4",
        "cw:bill shape::dagger": "3",
        "cw:size::small (5 - 9 in)": "1",
        "meta:box": "60.0 27.0 325.0 304.0",
        "meta:part back": "312.0 182.0",
        "meta:part left eye": "",
    }


def test_the_published_lines_of_cub_that_are_too_long_are_read_and_told_once(tmp_path):
    listing = list_images(cub(tmp_path))

    assert told(listing) == [("cells", "warning")]
    assert "3 lines have more than five columns" in listing.problems[0].detail


def test_cub_by_the_majority_of_each_class_counts_training_images_only(tmp_path):
    listing = list_images(cub(tmp_path), options={"attributes": "class"})

    # class 1: curved 1 of 2 is a tie and counts as present; dagger 0 of 2; small: one vote, present
    # class 2: image 4 is a test image; of image 3 nothing is known about the size
    np.testing.assert_array_equal(
        [row.concepts for row in listing.rows], [[1, 0, 1], [1, 0, 1], [0, 1, np.nan], [0, 1, np.nan]]
    )
    assert not any(name.startswith("cw:") for name in listing.extras)


def test_cub_by_published_shares_and_without_rare_attributes(tmp_path):
    top = cub(tmp_path)

    shares = list_images(top, options={"attributes": "percent"})
    few = list_images(top, options={"min_classes": 2})

    np.testing.assert_allclose(shares.rows[0].concepts, [0.755, 0, 1])
    np.testing.assert_allclose(shares.rows[3].concepts, [0, 0.125, 0.5])
    assert few.concepts == ()


def test_lines_of_cub_that_make_no_sense_are_problems(tmp_path):
    top = cub(tmp_path)
    with (top / "CUB_200_2011/attributes/image_attribute_labels.txt").open("a") as file:
        file.write("1 1\n99 1 1 4 1.0\n1 1 7 4 1.0\nnonsense\n")
    text(top / "CUB_200_2011/image_class_labels.txt", "1 1\n2 1\n3 2\n4\n")

    listing = list_images(top)

    assert told(listing).count(("bad_line", "warning")) == 5
    assert [(p.kind, p.row) for p in listing.problems if p.level == "error"] == [("missing_value", 3)]
    assert np.array_equal(listing.rows[0].concepts, [1, 0, math.nan], equal_nan=True)


def test_cub_without_its_attributes_is_imported_without_concepts_and_says_so(tmp_path):
    top = cub(tmp_path)
    (top / "CUB_200_2011/attributes/image_attribute_labels.txt").unlink()

    listing = list_images(top)

    assert listing.concepts == ()
    assert [(p.kind, p.level) for p in listing.problems] == [("missing_part", "warning")]
    assert "no attributes/image_attribute_labels.txt" in listing.problems[0].detail
    assert preflight(top).ok


def test_cub_refuses_a_table_of_shares_that_does_not_fit(tmp_path):
    top = cub(tmp_path)
    text(top / "CUB_200_2011/attributes/class_attribute_labels_continuous.txt", "75.5 0\n0 12.5\n")

    with pytest.raises(DataError, match="not 2 lines of 3 percentages"):
        list_images(top, options={"attributes": "percent"})


def test_awa2_has_the_attributes_of_classes_and_made_splits(tmp_path):
    listing = list_images(awa2(tmp_path))

    assert listing.concepts == ("black", "furry", "newworld")
    assert {row.label: row.concepts for row in listing.rows} == {
        "antelope": (0, 1, 0),
        "grizzly bear": (1, 1, 1),
        "bat": (1, 0, 1),
    }
    assert {row.split for row in listing.rows} == {""}


def test_awa2_keeps_percentages_and_published_class_splits_when_asked(tmp_path):
    listing = list_images(awa2(tmp_path), options={"attributes": "continuous", "splits": "classes"})

    np.testing.assert_allclose(listing.rows[0].concepts, [np.nan, 0.8021, 0], atol=1e-6)
    assert {row.label: row.split for row in listing.rows} == {
        "antelope": "train",
        "grizzly bear": "train",
        "bat": "test",
    }


def test_awa2_without_the_pictures_of_a_class_and_with_half_a_matrix(tmp_path):
    top = awa2(tmp_path)
    text(top / "Animals_with_Attributes2/classes.txt", "1\tantelope\n2\tgrizzly+bear\n3\tunicorn\n")
    assert told(list_images(top)) == [("missing_part", "warning")]

    text(top / "Animals_with_Attributes2/predicate-matrix-binary.txt", "0 1 0\n1 1 1\n")
    with pytest.raises(DataError, match="not 3 lines of 3 numbers"):
        list_images(top)


def test_celeba_takes_one_attribute_as_the_label_and_people_as_groups(tmp_path):
    listing = list_images(celeba(tmp_path), options={"label": "Wearing_Hat"})

    assert listing.concepts == ("Bald", "Smiling")
    assert [(row.label, row.split, row.group, row.concepts) for row in listing.rows] == [
        ("not Wearing Hat", "train", "2880", (0, 1)),
        ("not Wearing Hat", "train", "2880", (1, 0)),
        ("Wearing Hat", "val", "8692", (0, 1)),
        ("not Wearing Hat", "test", "17", (0, 0)),
    ]
    assert listing.source.labels == ("Bald", "Smiling", "Wearing_Hat")
    assert listing.source.options == {"label": "Wearing_Hat"}


def test_celeba_says_which_labels_there_are(tmp_path):
    with pytest.raises(UnknownName) as caught:
        list_images(celeba(tmp_path), options={"label": "smilling"})
    assert "choices: Bald, Smiling, Wearing_Hat" in caught.value.hint


def test_celeba_in_comma_separated_files_is_the_same(tmp_path):
    plain = list_images(celeba(tmp_path / "a"))
    top = tmp_path / "b"
    for number in range(1, 5):
        picture(top / "img_align_celeba" / "img_align_celeba" / f"{number:06}.jpg")
    values = ["-1,1,-1", "1,-1,-1", "-1,1,1", "-1,-1,-1"]
    lines = "".join(f"{n:06}.jpg,{v}\n" for n, v in enumerate(values, start=1))
    text(top / "list_attr_celeba.csv", f"image_id,Bald,Smiling,Wearing_Hat\n{lines}")
    text(
        top / "list_eval_partition.csv", "image_id,partition\n000001.jpg,0\n000002.jpg,0\n000003.jpg,1\n000004.jpg,2\n"
    )

    other = list_images(top)

    assert [(row.label, row.split, row.concepts) for row in other.rows] == [
        (row.label, row.split, row.concepts) for row in plain.rows
    ]


def test_lines_of_celeba_that_make_no_sense_are_problems(tmp_path):
    top = celeba(tmp_path)
    with (top / "list_attr_celeba.txt").open("a") as file:
        file.write("000005.jpg 1\n000001.jpg 1 1 2\n")

    listing = list_images(top)

    assert told(listing) == [("bad_line", "warning"), ("concept_value", "warning")]
    assert math.isnan(listing.rows[4].concepts[1])


def test_derm7pt_has_one_concept_a_value_with_the_criterion_as_its_group(tmp_path):
    listing = list_images(derm7pt(tmp_path))

    assert concepts(listing, "derm1d.jpg") == {"vascular structures::regular": 1}
    assert concepts(listing, "derm3d.jpg") == {
        "pigment network::atypical": 1,
        "streaks::irregular": 1,
        "pigmentation::irregular": 1,
        "regression structures": 1,
        "dots and globules::irregular": 1,
        "blue whitish veil": 1,
        "vascular structures::irregular": 1,
    }
    unknown = concepts(listing, "derm4d.jpg")
    assert math.isnan(unknown["vascular structures::regular"])
    assert {name: (row.label, row.split) for name, row in by_name(listing).items()} == {
        "derm1d.jpg": ("basal cell carcinoma", "train"),
        "derm2d.jpg": ("nevus", "val"),
        "derm3d.jpg": ("melanoma", "train"),
        "derm4d.jpg": ("miscellaneous", "test"),
    }


def test_derm7pt_with_both_images_groups_them_by_case_and_keeps_every_value(tmp_path):
    options = {"images": "both", "values": "all", "label": "diagnosis"}
    listing = list_images(derm7pt(tmp_path), options=options)

    assert {row.group for row in listing.rows} == {"case 1", "case 2", "case 3", "case 4"}
    assert by_name(listing)["clinic3c.jpg"].label == "melanoma (in situ)"
    assert len(listing.concepts) == 2 + 2 + 4 + 3 + 2 + 1 + 7
    assert concepts(listing, "clinic1c.jpg") == {"vascular structures::arborizing": 1}


def test_lines_of_derm7pt_that_make_no_sense_are_problems(tmp_path):
    top = derm7pt(tmp_path)
    meta = top / "release_v0/meta/meta.csv"
    meta.write_text(meta.read_text().replace("4,lentigo,0,absent", "4,lentigo,0,purple") + "5,melanoma\n")
    text(top / "release_v0/meta/test_indexes.csv", "indexes\n3\n77\n")

    listing = list_images(top)

    assert sorted(told(listing)) == [("bad_line", "warning"), ("bad_line", "warning"), ("concept_value", "warning")]
    assert math.isnan(concepts(listing, "derm4d.jpg")["pigment network::typical"])


def test_wbcatt_has_one_concept_a_value_and_finds_images_by_their_names(tmp_path):
    listing = list_images(wbcatt(tmp_path))

    assert concepts(listing, "BNE_422954.jpg") == dict.fromkeys(
        ["cell size::small", "cell shape::round", "nucleus shape::unsegmented-band", "nuclear cytoplasmic ratio::low",
         "chromatin density::densely", "cytoplasm texture::clear", "cytoplasm colour::light blue", "granule type::small",
         "granule colour::pink", "granularity"], 1.0,
    )  # fmt: skip
    assert not any(name.startswith("granul") for name in concepts(listing, "LY_1.jpg"))
    assert [(row.path.split("/")[0], row.label, row.split) for row in listing.rows] == [
        ("data", "Neutrophil", "train"),
        ("data", "Lymphocyte", "train"),
        ("data", "Eosinophil", "val"),
        ("data", "Lymphocyte", "test"),
    ]


def test_wbcatt_can_predict_an_attribute_which_then_is_no_concept(tmp_path):
    listing = list_images(wbcatt(tmp_path), options={"label": "cell size"})

    assert [row.label for row in listing.rows] == ["small", "small", "big", "big"]
    assert not any(name.startswith("cell size") for name in listing.concepts)
    with pytest.raises(UnknownName, match="no label named 'colour'"):
        list_images(tmp_path, options={"label": "colour"})


def test_a_value_that_wbcatt_does_not_have_and_a_list_that_is_missing_are_told(tmp_path):
    top = wbcatt(tmp_path)
    (top / "pbc_attr_v1_test.csv").unlink()
    train = top / "pbc_attr_v1_train.csv"
    train.write_text(train.read_text().replace("LY_1.jpg,Lymphocyte,small", "LY_1.jpg,Lymphocyte,huge"))

    listing = list_images(top)

    assert told(listing) == [("concept_value", "warning"), ("missing_part", "warning")]
    assert math.isnan(concepts(listing, "LY_1.jpg")["cell size::big"])


def test_skincon_joins_labels_and_leaves_out_what_is_not_to_be_considered(tmp_path):
    listing = list_images(skincon(tmp_path))

    assert listing.concepts == ("Vesicle", "Papule", "Brown(Hyperpigmentation)")
    assert [(row.label, row.concepts, row.extra) for row in listing.rows] == [
        ("benign", (0, 1, 0), ("1",)),
        ("malignant", (1, 1, 0), ("2",)),
        ("non-neoplastic", (0, 1, 0), ("3",)),
    ]
    assert [(p.kind, p.detail[:27]) for p in listing.problems] == [("left_out", "1 images are marked 'Do not")]
    assert listing.source.options["label"] == "three_partition_label"


def test_skincon_on_ddi_predicts_malignancy(tmp_path):
    for name in ("000001.png", "000002.png"):
        picture(tmp_path / "ddi" / name)
    text(
        tmp_path / "annotations_ddi.csv",
        ",ImageID,Vesicle,Do not consider this image\n0,000001.png,1,0\n1,000002.png,maybe,0\n",
    )
    text(
        tmp_path / "ddi_metadata.csv",
        ",DDI_ID,DDI_file,skin_tone,malignant,disease\n0,1,000001.png,56,True,x\n1,2,000002.png,12,False,y\n",
    )

    listing = list_images(tmp_path)

    assert [(row.label, row.path, row.extra) for row in listing.rows] == [
        ("malignant", "ddi/000001.png", ("56",)),
        ("benign", "ddi/000002.png", ("12",)),
    ]
    assert math.isnan(listing.rows[1].concepts[0])
    assert told(listing) == [("concept_value", "warning")]
    with pytest.raises(UnknownName, match="three_partition_label"):
        list_images(tmp_path, options={"label": "three_partition_label"})


def test_a_data_set_is_read_in_place_with_its_certainties(tmp_path):
    dataset, report = read_dataset(cub(tmp_path))

    assert dataset.meta["cw:bill shape::dagger"] == ("3", "4", "4", "3")
    assert report.splits == {"train": 3, "test": 1}
    assert report.prevalence["bill shape::dagger"] == 0.5
