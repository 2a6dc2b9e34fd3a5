from dataclasses import replace
from pathlib import Path

from bids_alps.io.pairs import pair_opposite
from bids_alps.model import DwiRun


def run(direction, *, number=None, against=()):
    entities = {"sub": "01", "dir": direction} | ({"run": number} if number else {})
    image = Path(f"{direction}{number or ''}.nii.gz")
    paths = tuple(Path(f"{name}.nii.gz") for name in against)
    return DwiRun(entities=entities, image=image, bval=image, bvec=image, reverse_phase=paths)


def test_two_opposite_runs_become_one_without_a_direction_in_its_name():
    first, second = run("AP", against=["PA"]), run("PA", against=["AP"])
    (pair,) = pair_opposite([first, second])
    assert pair.name == "sub-01"
    assert (pair.image, pair.partner) == (first.image, second)


def test_the_sense_of_the_encoding_counts_before_what_serves_as_reverse_image():
    first, second = (
        replace(run(name), metadata={"PhaseEncodingDirection": sense}) for name, sense in (("AP", "j-"), ("PA", "j"))
    )
    assert len(pair_opposite([first, second])) == 1
    assert len(pair_opposite([first, replace(second, metadata={"PhaseEncodingDirection": "j-"})])) == 2


def test_runs_that_are_not_each_others_reverse_stay_apart():
    runs = [run("AP", against=["PA"]), run("PA")]
    assert pair_opposite(runs) == runs


def test_pairs_are_told_apart_by_their_other_entities():
    runs = [
        run(direction, number=number, against=[f"{other}{number}"])
        for number in "12"
        for direction, other in (("AP", "PA"), ("PA", "AP"))
    ]
    assert [one.name for one in pair_opposite(runs)] == ["sub-01_run-1", "sub-01_run-2"]


def test_three_of_a_name_stay_as_they_are():
    runs = [run("AP", against=["PA"]), run("PA", against=["AP"]), run("LR")]
    assert pair_opposite(runs) == runs


def test_preprocessed_runs_are_never_merged():
    runs = [
        replace(run("AP", against=["PA"]), preprocessed=True),
        replace(run("PA", against=["AP"]), preprocessed=True),
    ]
    assert pair_opposite(runs) == runs
