"""Links of a report point to existing files."""

from bids_alps.report.links import find_neighbors, find_tables


def test_neighbors_have_diffusion_data(tmp_path):
    for folder in ("sub-01/dwi", "sub-02/anat", "sub-03/ses-1/dwi", "sub-04/dwi"):
        (tmp_path / folder).mkdir(parents=True)
    assert find_neighbors(tmp_path, "01") == ("", "03")
    assert find_neighbors(tmp_path, "03", ["03"]) == ("01", "04")
    assert find_neighbors(tmp_path, "03", ["sub-03", "sub-04"]) == ("", "04")
    assert find_neighbors(tmp_path / "nowhere", "01") == ("", "")


def test_linked_tables_belong_to_the_run(tmp_path):
    folder = tmp_path / "sub-01" / "dwi"
    folder.mkdir(parents=True)
    for name in (
        "sub-01_desc-alps_scalarstats.tsv",
        "sub-01_seg-JHU_scalarstats.tsv",
        "sub-01_run-2_seg-alps_scalarstats.tsv",
    ):
        (folder / name).write_text("")
    assert find_tables(tmp_path, folder, "sub-01") == (
        ("Index", "sub-01/dwi/sub-01_desc-alps_scalarstats.tsv"),
        ("seg-JHU_scalarstats.tsv", "sub-01/dwi/sub-01_seg-JHU_scalarstats.tsv"),
    )
