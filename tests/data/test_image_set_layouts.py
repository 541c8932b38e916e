# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_dataset import ImageSetDataset
from monai_usspeech.data.image_set_folders import LayoutSettings
from monai_usspeech.data.image_set_layouts import build_image_set, count_difference, read_layout
from monai_usspeech.data.image_set_video_tree import US4_PREFIXES
from tests.data.image_set_factory import picture, pictures
from tests.data.media_factory import make_video


def read(layout: str, folder: Path, **settings) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """(file below the folder, label, group) of each image, sorted, and the notes."""
    datalist, notes = read_layout(layout, folder, None, LayoutSettings(**settings))
    root = folder.resolve() if folder.is_dir() else folder.resolve().parent
    return sorted((i.image.relative_to(root).as_posix(), i.label, i.group) for i in datalist), notes


# --- POCUS ---


def pocus_images(folder: Path, *extra: str) -> None:
    pictures(
        folder,
        "covid/Cov-Atlas+(44).gif_frame0.jpg",
        "covid/Cov-Atlas+(44).gif_frame3.jpg",
        "covid/Cov-Atlas-1.2.mp4_frame10.jpg",
        "pneumonia/Pneu-a.jpg",
        "regular/Reg-b.mov_frame7.png",
        *extra,
    )


@pytest.mark.parametrize("inside", [".", "image_dataset"])
def test_frames_of_pocus_are_grouped_by_video(tmp_path: Path, inside: str):
    pocus_images(tmp_path / inside, "viral/Vir-x.jpg", "uninformative/y.jpg", "covid/.hidden.jpg")
    found, notes = read("pocus", tmp_path)
    assert [(Path(name).name, label, group) for name, label, group in found] == [
        ("Cov-Atlas+(44).gif_frame0.jpg", "covid", "Cov-Atlas+(44).gif"),
        ("Cov-Atlas+(44).gif_frame3.jpg", "covid", "Cov-Atlas+(44).gif"),
        ("Cov-Atlas-1.2.mp4_frame10.jpg", "covid", "Cov-Atlas-1.2.mp4"),
        ("Pneu-a.jpg", "pneumonia", "Pneu-a.jpg"),
        ("Reg-b.mov_frame7.png", "regular", "Reg-b.mov"),
    ]
    assert "left out: 1 image of viral, as in the published evaluation" in notes
    assert "covid 3, 652 fewer than 655; pneumonia 1, 348 fewer than 349; regular 1, 1111 fewer than 1112" in notes[-1]


def test_published_splits_of_pocus_become_folds(tmp_path: Path):
    for split in range(5):
        for label in ("covid", "pneumonia", "regular"):
            picture(tmp_path / f"split{split}" / label / f"{label}{split}.mp4_frame0.jpg")
    datalist, _ = read_layout("pocus", tmp_path, None, LayoutSettings())
    assert datalist.n_folds == 5
    assert all(image.fold == int(image.group[-5]) for image in datalist)


def test_videos_of_pocus_are_sampled_three_times_a_second(tmp_path: Path):
    (tmp_path / "pocus_videos" / "convex").mkdir(parents=True)
    (tmp_path / "pocus_videos" / "linear").mkdir()
    make_video(tmp_path / "pocus_videos" / "convex" / "Cov_a.mp4", n_frames=60)
    make_video(tmp_path / "pocus_videos" / "linear" / "Cov-b.mp4", n_frames=30)
    picture(tmp_path / "pocus_images" / "convex" / "pneu-c.png")
    picture(tmp_path / "pocus_images" / "convex" / "notes.png")
    found, notes = read("pocus", tmp_path)
    assert found == [
        ("pocus_images/convex/pneu-c.png", "pneumonia", "pneu-c.png"),
        *(6 * [("pocus_videos/convex/Cov_a.mp4", "covid", "Cov_a.mp4")]),
    ]
    assert "left out: 3 images of the other probe (probe=convex)" in notes
    assert len(read("pocus", tmp_path, probe="all", max_frames=2)[0]) == 2 + 2 + 1


def test_a_folder_that_is_not_pocus_says_what_was_expected_and_found(tmp_path: Path):
    pictures(tmp_path, "benign/a.png", "b.png")
    with pytest.raises(InputError, match=r"expected covid/, pneumonia/ and regular/.*found benign/, 1 \.png"):
        read("pocus", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read("pocus", tmp_path / "nowhere")


# --- breast ---


def test_masks_of_busi_are_left_out_and_bui_joins(tmp_path: Path):
    pictures(
        tmp_path / "Dataset_BUSI_with_GT",
        *("benign/benign (1).png", "benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"),
        *("malignant/malignant (1).png", "malignant/malignant (1)_mask.png", "normal/normal (1).png"),
    )
    pictures(tmp_path / "originals", "benign/1.bmp", "Malignant/1.bmp")
    found, notes = read("breast", tmp_path)
    assert [(name, label) for name, label, _ in found] == [
        ("Dataset_BUSI_with_GT/benign/benign (1).png", "benign"),
        ("Dataset_BUSI_with_GT/malignant/malignant (1).png", "malignant"),
        ("Dataset_BUSI_with_GT/normal/normal (1).png", "normal"),
        ("originals/Malignant/1.bmp", "malignant"),
        ("originals/benign/1.bmp", "benign"),
    ]
    assert len({group for _, _, group in found}) == 5
    assert "neither BUSI nor BUI names patients" in notes[0]


def test_the_nearest_published_counts_are_compared():
    busi, bui = {"benign": 437, "malignant": 210, "normal": 133}, {"benign": 100, "malignant": 150, "normal": 0}
    published = {"BUSI": busi, "BUI": bui}
    assert count_difference(busi, published) == "" and count_difference(bui, published) == ""
    assert count_difference({**busi, "normal": 134, "benign": 435}, published) == (
        "the counts differ from the published ones of BUSI: benign 435, 2 fewer than 437; normal 134, 1 more than 133"
    )
    assert count_difference(busi, {}) == ""


def test_the_published_counts_of_busi_and_bui_bring_no_warning(tmp_path: Path, recwarn):
    for source, counts in (("busi", (437, 210, 133)), ("bui", (100, 150, 0))):
        for label, count in zip(("benign", "malignant", "normal"), counts):
            (tmp_path / source / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / source / label / f"{number}.png").touch()  # building reads no picture
    datalist = build_image_set("breast", tmp_path, group=r"([a-z]+/.*)")
    assert datalist.counts() == {"benign": 537, "malignant": 360, "normal": 133}
    assert not [warning for warning in recwarn if warning.category is UserWarning]


def test_a_difference_is_a_warning_in_python(tmp_path: Path):
    pictures(tmp_path, "benign/a.png", "malignant/b.png")
    with pytest.warns(UserWarning, match="malignant 1, 149 fewer than 150"):
        build_image_set("breast", tmp_path, group="(.)[.]png")


# --- thyroid ---


def case(folder: Path, number: int, tirads: str, *images: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{number}.xml").write_text(f"<case><number>{number}</number><tirads>{tirads}</tirads></case>")
    pictures(folder, *(f"{number}_{image}.jpg" for image in images))


def test_ddti_cases_are_labelled_by_their_xml(tmp_path: Path):
    case(tmp_path / "d", 1, "2", 1, 2)
    case(tmp_path / "d", 12, "4a", 1)
    case(tmp_path / "d", 3, "3", 1)
    case(tmp_path / "d", 4, "", 1)
    picture(tmp_path / "d" / "99_1.jpg")
    found, notes = read("thyroid", tmp_path)
    assert found == [
        ("d/12_1.jpg", "malignant", "case 12"),
        ("d/1_1.jpg", "benign", "case 1"),
        ("d/1_2.jpg", "benign", "case 1"),
        ("d/3_1.jpg", "benign", "case 3"),
    ]
    assert notes[0] == "left out: 1 image with no TI-RADS category"
    assert notes[1] == "left out: 1 image with no CASE.xml beside"
    assert "benign 3, 58 fewer than 61; malignant 1, 287 fewer than 288" in notes[-1]
    assert ("d/3_1.jpg", "malignant", "case 3") in read("thyroid", tmp_path, benign_tirads=2)[0]


@pytest.mark.parametrize(("tirads", "said"), [("6", '<tirads> is "6"'), ("<b", "not valid XML")])
def test_a_ddti_case_that_cannot_be_used_is_named(tmp_path: Path, tirads: str, said: str):
    case(tmp_path / "d", 1, tirads, 1)
    with pytest.raises(InputError, match=rf"1\.xml: .*{said}"):
        read("thyroid", tmp_path)


def test_thyroid_folders_of_the_hico_tools_are_read(tmp_path: Path):
    pictures(tmp_path, "Thb/7_1_png/7_1.png", "Thm/8_1_png/8_1.png", "Thm/8_2_png/8_2.png")
    assert read("thyroid", tmp_path)[0] == [
        ("Thb/7_1_png/7_1.png", "benign", "case 7"),
        ("Thm/8_1_png/8_1.png", "malignant", "case 8"),
        ("Thm/8_2_png/8_2.png", "malignant", "case 8"),
    ]


def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path):
    pictures(tmp_path, "1_1.jpg", "2_1.jpg")
    with pytest.raises(InputError, match=r"expected CASE.xml beside CASE_1.jpg.*found 2 \.jpg"):
        read("thyroid", tmp_path)


# --- chest X-ray ---


def test_children_of_chestxray2017_are_kept_together(tmp_path: Path):
    pictures(
        tmp_path / "chest_xray" / "test",
        *("NORMAL/IM-0001-0001.jpeg", "NORMAL/NORMAL2-IM-0001-0002.jpeg"),
        *("PNEUMONIA/person1_virus_6.jpeg", "PNEUMONIA/person1_bacteria_2.jpeg", "PNEUMONIA/person12_virus_1.jpeg"),
    )
    pictures(tmp_path / "chest_xray" / "train", "NORMAL/IM-0009-0001.jpeg", "PNEUMONIA/person9_virus_1.jpeg")
    found, notes = read("chest_xray", tmp_path)
    assert [(label, group) for _, label, group in found] == [
        ("normal", "IM-0001"),
        ("normal", "IM-0001"),
        ("pneumonia", "person12"),
        ("pneumonia", "person1"),
        ("pneumonia", "person1"),
    ]
    assert notes == (
        "the counts differ from the published ones of ChestXRay2017 test: normal 2, 232 fewer than 234; "
        "pneumonia 3, 387 fewer than 390",
    )
    assert len(read("chest_xray", tmp_path, part="train")[0]) == 2
    assert len(read("chest_xray", tmp_path, part="all")[0]) == 7
    assert len(read("chest_xray", tmp_path / "chest_xray" / "test")[0]) == 5
    with pytest.raises(InputError, match="has no val/ folder; found test, train"):
        read("chest_xray", tmp_path, part="val")


def test_covid_xray_5k_is_told_apart(tmp_path: Path):
    pictures(tmp_path, "test/covid/a.jpg", "test/non/Edema/b.jpg", "train/covid/c.jpg", "train/non/d.jpg")
    found, notes = read("chest_xray", tmp_path)
    assert [row[:2] for row in found] == [("test/covid/a.jpg", "covid"), ("test/non/Edema/b.jpg", "non")]
    assert "COVID-Xray-5k test: covid 1, 99 fewer than 100; non 1, 2999 fewer than 3000" in notes[-1]
    assert "train: covid 1, 83 fewer than 84" in read("chest_xray", tmp_path, part="train")[1][-1]


def test_a_chest_folder_with_one_class_says_what_was_expected(tmp_path: Path):
    pictures(tmp_path, "test/covid/a.jpg")
    with pytest.raises(InputError, match=r"expected train/ and test/ with covid/ and non/.*found test/"):
        read("chest_xray", tmp_path)


# --- folders and tables of one's own ---


def test_folders_of_frames_videos_and_pictures(tmp_path: Path):
    pictures(tmp_path, "ill/v1/0.png", "ill/v1/1.png", "well/v1/0.png", "well/alone.png")
    make_video(tmp_path / "well" / "clip.mp4", n_frames=30)
    found, notes = read("folders", tmp_path, interval=0.5)
    assert found == [
        ("ill/v1/0.png", "ill", "ill/v1"),
        ("ill/v1/1.png", "ill", "ill/v1"),
        ("well/alone.png", "well", "well/alone.png"),
        ("well/clip.mp4", "well", "well/clip.mp4"),
        ("well/clip.mp4", "well", "well/clip.mp4"),
        ("well/v1/0.png", "well", "well/v1"),
    ]
    assert notes == ()
    assert {g for _, _, g in read("folders", tmp_path, group="([a-z])[^/]*/")[0]} == {"i", "w"}
    with pytest.raises(InputError, match="for two classes or more, found v1/"):
        read("folders", tmp_path / "ill")
    with pytest.raises(InputError, match="finds nothing"):
        read("folders", tmp_path, group="(x+)")


def write_csv(path: Path, *rows: tuple) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_table_names_images_labels_groups_and_folds(tmp_path: Path):
    pictures(tmp_path, "a.png", "b.png")
    make_video(tmp_path / "v.mp4", n_frames=30)
    rows = [("a.png", "x", "p1", "", 0), ("b.png", "y", "p2", "", 1), ("v.mp4", "y", "p2", 0.25, 1)]
    table = write_csv(tmp_path / "t.csv", ("image", "label", "group", "time", "fold"), *rows)
    datalist, notes = read_layout("csv", table, "mine", LayoutSettings())
    assert [(i.image.name, i.label, i.group, i.time, i.fold) for i in datalist] == [
        ("a.png", "x", "p1", None, 0),
        ("b.png", "y", "p2", None, 1),
        ("v.mp4", "y", "p2", 0.25, 1),
    ]
    assert datalist.name == "mine" and datalist.classes == ("x", "y") and notes == ()


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        ([("file", "label"), ("a.png", "x")], {}, 'no column "image"'),
        ([("image", "label"), ("c.png", "x")], {}, 'line 2: no such file "c.png"'),
        ([("image", "label"), ("a.png", "")], {}, "line 2: image or label is empty"),
        ([("image", "label", "fold"), ("a.png", "x", "one")], {}, 'fold is "one"'),
        ([("image", "label")], {}, "has no row"),
        ([("a.png", "x")], {"columns": ["image", "lable"]}, '"lable" is none of.*Did you mean "label"'),
        ([("image", "label"), ("a.png", "x")], {"columns": {"group": "patient"}}, 'no column "patient" for group'),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path: Path, rows: list, settings: dict, said: str):
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=said):
        read_layout("csv", write_csv(tmp_path / "t.csv", *rows), None, LayoutSettings(**settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"probe": "convecs"}, 'Did you mean "convex"'),
        ({"part": "tests"}, '"test"'),
        ({"interval": 0}, "interval is 0"),
        ({"benign_tirads": [2, 6]}, '"6" is no category'),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(settings: dict, said: str):
    with pytest.raises(InputError, match=said):
        LayoutSettings(**settings)


def test_an_unknown_layout_names_the_nearest(tmp_path: Path):
    with pytest.raises(InputError, match='Did you mean "thyroid"'):
        build_image_set("thyriod", tmp_path)


# --- real recordings ---


def test_real_lung_videos_are_grouped_by_their_table(real_data: Path):
    datalist, notes = read_layout("pocus", real_data / "pocus", None, LayoutSettings(max_frames=2))
    files = {image.image for image in datalist}
    assert len(files) == 35 and datalist.classes == ("covid", "pneumonia", "regular")  # one viral video is left out
    groups = {image.image.name: image.group for image in datalist}
    assert groups["Reg_pat3Image_134711.mpeg"] == groups["Reg_pat3Image_135215.mpeg"] == "pat2"
    drawn = datalist.draw_folds(3)
    train, test = drawn.fold_groups(0)
    dataset = ImageSetDataset(drawn, subjects=test[:2], size=64)
    assert dataset[0]["image"].float().std() > 5 and not set(dataset.subjects) & set(train)


def test_real_gallbladder_images_go_through_a_table_without_header(real_data: Path, tmp_path: Path):
    # rows of the label file that its authors give out, which has no header: 1 is biliary atresia
    labels = {
        **dict.fromkeys(("5_0.JPG", "18_0.jpg", "18_1.jpg", "43_0.jpg", "43_1.jpg", "73_0.jpg", "332_0.JPG"), "0"),
        **dict.fromkeys(("622_2.JPG", "629_1.jpg", "629_2.jpg", "934_1.jpg", "955_1.jpg"), "1"),
    }
    folder = real_data / "images" / "gallbladder" / "training_data"
    table = write_csv(tmp_path / "label.csv", *((folder / name, label) for name, label in labels.items()))
    settings = LayoutSettings(columns=["image", "label"], group=r"([0-9]+)_[^/]*$")
    datalist, notes = read_layout("csv", table, "gallbladder", settings)
    assert datalist.counts() == {"0": 7, "1": 5} and notes == ()
    assert datalist.groups == tuple(sorted({name.split("_")[0] for name in labels}))
    sample = ImageSetDataset(datalist, size=60)[0]
    assert sample["image"].shape == (1, 60, 60) and sample["image"].float().std() > 5


# --- trees of videos ---


def video_tree(folder: Path) -> None:
    pictures(
        folder, "Cov-a/2.png", "Cov-a/1.png", "lung/reg_b/1.png", "lung/reg_b/mask/1.png", ".hidden/1.png", "x.png"
    )
    make_video(folder / "lung" / "Ali c.mp4", n_frames=30)


def test_every_video_file_and_folder_of_pictures_is_a_video(tmp_path: Path):
    video_tree(tmp_path)
    found, notes = read("videos", tmp_path, max_frames=2)
    assert found == [
        ("Cov-a/1.png", None, "Cov-a"),
        ("Cov-a/2.png", None, "Cov-a"),
        *(2 * [("lung/Ali c.mp4", None, "lung/Ali c.mp4")]),
        ("lung/reg_b/1.png", None, "lung/reg_b"),
        ("lung/reg_b/mask/1.png", None, "lung/reg_b/mask"),
        ("x.png", None, tmp_path.name),
    ]
    assert notes == () and build_image_set("videos", tmp_path).classes == ()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ("folder", ("Cov-a", "lung"), ["Cov-a", "Cov-a", "lung", "lung", "lung", None]),
        ("us4", ("Reg, Ali", "Cov, Bli, Ple, Oth"), [*(2 * ["Cov, Bli, Ple, Oth"]), *(2 * ["Reg, Ali"]), None, None]),
        ({"c": "1", "Cov": "2", "ali": "1"}, ("1", "2"), ["2", "2", "1", None, None, None]),
    ],
)
def test_labels_of_videos_come_from_folders_or_names(tmp_path: Path, labels, classes, expected):
    video_tree(tmp_path)
    found, notes = read("videos", tmp_path, max_frames=1, labels=labels)
    assert [label for _, label, _ in found] == expected
    assert read_layout("videos", tmp_path, None, LayoutSettings(labels=labels))[0].classes == classes
    missing = expected.count(None)
    assert notes == (f"{missing} image{'s' * (missing > 1)} of 6 without a label",)


def test_us4_has_twelve_classes():
    assert len(set(US4_PREFIXES.values())) == 12
    numbers = {name: number for number, name in enumerate(dict.fromkeys(US4_PREFIXES.values()))}
    by_prefix = [("Rb1", 0), ("Rb5", 4), ("F0_", 5), ("F4_", 9), ("Ali", 10), ("Reg", 10), ("Bli", 11), ("Oth", 11)]
    assert all(numbers[US4_PREFIXES[prefix]] == number for prefix, number in by_prefix)


@pytest.mark.parametrize("labels", ["folders", {}, {"Cov": 1}, 3])
def test_labels_that_are_no_rule_are_refused(labels):
    with pytest.raises(InputError, match=r'labels is .*give None, "folder", "us4", or a table'):
        LayoutSettings(labels=labels)


def test_a_folder_without_a_video_says_so(tmp_path: Path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"not a tree of videos; expected video files, .*found 1 \.txt"):
        read("videos", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read("videos", tmp_path / "nowhere")
