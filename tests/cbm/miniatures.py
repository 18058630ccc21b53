"""Published data sets in miniature: their file names, headers and quirks, with a few made-up images each."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path) -> Path:
    """A small JPEG whose content is that of its path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(map(ord, path.name))).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def text(path: Path, content: str) -> Path:
    """A text file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def cub(top: Path) -> Path:
    """Two species with two photographs each and three attributes; image 4 has the lines that are too long."""
    base = top / "CUB_200_2011"
    names = [f"{c}/{c[4:]}_000{n}.jpg" for c in ("001.Black_footed_Albatross", "002.Laysan_Albatross") for n in (1, 2)]
    for name in names:
        picture(base / "images" / name)
    text(base / "images.txt", "".join(f"{n} {name}\n" for n, name in enumerate(names, start=1)))
    text(base / "classes.txt", "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    text(base / "image_class_labels.txt", "1 1\n2 1\n3 2\n4 2\n")
    text(base / "train_test_split.txt", "1 1\n2 1\n3 1\n4 0\n")
    text(
        base / "bounding_boxes.txt",
        "1 60.0 27.0 325.0 304.0\n2 1.0 1.0 2.0 2.0\n3 1.0 1.0 2.0 2.0\n4 1.0 1.0 2.0 2.0\n",
    )
    text(base / "parts" / "parts.txt", "1 back\n2 left eye\n")
    text(base / "parts" / "part_locs.txt", "1 1 312.0 182.0 1\n1 2 0.0 0.0 0\n2 1 5.0 6.0 1\n")
    text(
        top / "attributes.txt",
        "1 has_bill_shape::curved_(up_or_down)\n2 has_bill_shape::dagger\n3 has_size::small_(5_-_9_in)\n",
    )
    text(base / "attributes" / "certainties.txt", "1 not visible\n2 guessing\n3 probably\n4 definitely\n")
    text(
        base / "attributes" / "image_attribute_labels.txt",
        "1 1 1 4 5.057\n1 2 0 3 5.057\n1 3 0 1 5.057\n"  # the third attribute is not visible
        "2 1 0 2 9.1\n2 2 0 4 9.1\n2 3 1 3 9.1\n"
        "3 1 0 4 2.0\n3 2 1 4 2.0\n"  # nothing was written of the third
        "4 1 0 1 0  1.509\n4 2 1 3 0  1.509\n4 3 1 4 0  1.509\n",  # as images 2275 and 9364 of the published file
    )
    text(base / "attributes" / "class_attribute_labels_continuous.txt", "75.5 0 100\n0 12.5 50\n")
    return top


def awa2(top: Path) -> Path:
    """Two seen animals and one that is not, with three attributes; one percentage is missing."""
    base = top / "Animals_with_Attributes2"
    for name in ("antelope", "grizzly+bear", "bat"):
        for number in (10001, 10002):
            picture(base / "JPEGImages" / name / f"{name}_{number}.jpg")
    text(base / "classes.txt", "     1\tantelope\n     2\tgrizzly+bear\n     3\tbat\n")
    text(base / "predicates.txt", "     1\tblack\n     2\tfurry\n     3\tnewworld\n")
    text(base / "predicate-matrix-binary.txt", "0 1 0\n1 1 1\n1 0 1\n")
    text(
        base / "predicate-matrix-continuous.txt",
        "  -1.00   80.21    0.00\n  52.10   90.00   41.00\n 100.00   10.00   60.00\n",
    )
    text(base / "trainclasses.txt", "antelope\ngrizzly+bear\n")
    text(base / "testclasses.txt", "bat\n")
    return top


def celeba(top: Path) -> Path:
    """Four faces of three people with three attributes, in the publishers' text files."""
    for number in range(1, 5):
        picture(top / "img_align_celeba" / f"{number:06}.jpg")
    text(
        top / "list_attr_celeba.txt",
        "4\nBald Smiling Wearing_Hat \n000001.jpg -1  1 -1\n000002.jpg  1 -1 -1\n000003.jpg -1  1  1\n000004.jpg -1 -1 -1\n",
    )
    text(top / "list_eval_partition.txt", "000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n000004.jpg 2\n")
    text(top / "identity_CelebA.txt", "000001.jpg 2880\n000002.jpg 2880\n000003.jpg 8692\n000004.jpg 17\n")
    return top


def derm7pt(top: Path) -> Path:
    """Four cases with both images."""
    base = top / "release_v0"
    header = (
        "case_num,diagnosis,seven_point_score,pigment_network,streaks,pigmentation,regression_structures,dots_and_globules,"
        "blue_whitish_veil,vascular_structures,level_of_diagnostic_difficulty,elevation,location,sex,management,clinic,derm,"
        "case_id,notes"
    )
    cases = [
        "1,basal cell carcinoma,0,absent,absent,absent,absent,absent,absent,arborizing,low,nodular,head neck,female,excision",
        "2,clark nevus,1,typical,regular,diffuse irregular,absent,irregular,absent,absent,medium,flat,back,male,no further examination",
        "3,melanoma (in situ),5,atypical,irregular,localized irregular,white areas,irregular,present,dotted,high,flat,back,female,excision",
        "4,lentigo,0,absent,absent,diffuse regular,absent,regular,absent,,low,flat,acral,male,clinical follow up",
    ]
    lines = []
    for number, case in enumerate(cases, start=1):
        for kind, letter in (("clinic", "c"), ("derm", "d")):
            picture(base / "images" / "NEL" / f"{kind}{number}{letter}.jpg")
        lines.append(f"{case},NEL/clinic{number}c.jpg,NEL/derm{number}d.jpg,,")
    text(base / "meta" / "meta.csv", "\n".join([header, *lines]) + "\n")
    text(base / "meta" / "train_indexes.csv", "indexes\n2\n0\n")
    text(base / "meta" / "valid_indexes.csv", "indexes\n1\n")
    text(base / "meta" / "test_indexes.csv", "indexes\n3\n")
    return top


def wbcatt(top: Path) -> Path:
    """Four cells; a lymphocyte has no granules."""
    header = (
        "img_name,label,cell_size,cell_shape,nucleus_shape,nuclear_cytoplasmic_ratio,chromatin_density,cytoplasm_vacuole,"
        "cytoplasm_texture,cytoplasm_colour,granule_type,granule_colour,granularity,path"
    )
    cells = {
        "train": [
            "BNE_422954.jpg,Neutrophil,small,round,unsegmented-band,low,densely,no,clear,light blue,small,pink,yes",
            "LY_1.jpg,Lymphocyte,small,round,unsegmented-round,high,densely,no,clear,blue,nil,nil,no",
        ],
        "val": ["EO_2.jpg,Eosinophil,big,round,segmented-bilobed,low,densely,yes,clear,light blue,round,red,yes"],
        "test": ["LY_3.jpg,Lymphocyte,big,irregular,irregular,low,loosely,no,frosted,purple blue,nil,nil,no"],
    }
    for split, lines in cells.items():
        paths = []
        for line in lines:
            name, label = line.split(",")[:2]
            place = f"PBC_dataset_normal_DIB/{label.lower()}/{name}"
            picture(top / "data" / place)
            paths.append(f"{line},{place}")
        text(top / f"pbc_attr_v1_{split}.csv", "\n".join([header, *paths]) + "\n")
    return top


def skincon(top: Path) -> Path:
    """Four images of Fitzpatrick 17k, one of which is not to be considered."""
    names = [f"{number:032x}" for number in range(1, 5)]
    for name in names:
        picture(top / "images" / f"{name}.jpg")
    text(
        top / "annotations_fitzpatrick17k.csv",
        ",ImageID,Vesicle,Papule,Brown(Hyperpigmentation),Do not consider this image\n"
        + "".join(f"{n},{name}.jpg,{n % 2},1,0,{int(n == 3)}\n" for n, name in enumerate(names)),
    )
    labels = ["benign", "malignant", "non-neoplastic", "benign"]
    text(
        top / "fitzpatrick17k.csv",
        "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,url,url_alphanum\n"
        + "".join(
            f"{name},{n + 1},1,acne {n % 2},inflammatory,{label},,http://x/{n}.jpg,x{n}jpg\n"
            for n, (name, label) in enumerate(zip(names, labels, strict=True))
        ),
    )
    return top


MAKERS = {"cub": cub, "awa2": awa2, "celeba": celeba, "derm7pt": derm7pt, "wbcatt": wbcatt, "skincon": skincon}
