import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylecore import ImageError, ParameterError, transfer, transfer_many
from stylecore.samples import PAINTING, PHOTOGRAPH

pytestmark = pytest.mark.slow

QUICK = {"network": "small", "size": 48, "iterations": 3, "pyramid": 1, "optimizer": "lbfgs"}


def jobs(folder, count=3):
    given = {"content": PHOTOGRAPH, "style": PAINTING, **QUICK}
    return [{**given, "seed": i, "init": "noise", "output": folder / f"{i}.png"} for i in range(count)]


def test_pictures_are_those_of_transfer(tmp_path):
    made = transfer_many(jobs(tmp_path), manifest=tmp_path / "manifest.json")
    for i, each in enumerate(made):
        expected = transfer(PHOTOGRAPH, PAINTING, seed=i, init="noise", **QUICK)
        np.testing.assert_array_equal(np.asarray(Image.open(each.output)), np.asarray(expected.image))
        assert each.loss == expected.history[-1].loss and each.seconds > 0
    record = json.loads((tmp_path / "manifest.json").read_text())
    assert [each["state"] for each in record["pictures"]] == ["made"] * 3
    assert record["pictures"][1]["settings"] == {**QUICK, "seed": 1, "init": "noise"}
    assert record["pictures"][0]["content"] == str(PHOTOGRAPH)


def test_what_is_there_is_skipped(tmp_path):
    manifest = tmp_path / "manifest.json"
    (first,) = transfer_many(jobs(tmp_path, 1), manifest=manifest)
    made = transfer_many(jobs(tmp_path, 2), manifest=manifest)
    assert [each.state for each in made] == ["was there", "made"]
    assert made[0].loss == first.loss  # From the manifest.
    again = transfer_many(jobs(tmp_path, 2), overwrite=True)
    assert [each.state for each in again] == ["made", "made"]


def test_one_bad_picture_does_not_end_the_others(tmp_path):
    (tmp_path / "bad.jpg").write_text("not a picture")
    given = jobs(tmp_path)
    given[0]["content"] = tmp_path / "bad.jpg"
    given[1]["style"] = [PAINTING, tmp_path / "missing.jpg"]
    made = transfer_many(given, manifest=tmp_path / "manifest.json")
    assert [each.state for each in made] == ["failed", "failed", "made"]
    assert "bad.jpg" in made[0].error and "missing.jpg" in made[1].error
    assert not made[0].output.exists()
    record = json.loads((tmp_path / "manifest.json").read_text())
    assert record["pictures"][0]["error"] == made[0].error


def test_a_callback_ends_the_work(tmp_path):
    made = transfer_many(jobs(tmp_path), callback=lambda each: True)
    assert [each.state for each in made] == ["made", "not begun", "not begun"]


def test_a_killed_process_loses_nothing_else(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def dies(made):
        raise Killed

    with pytest.raises(Killed):
        transfer_many(jobs(tmp_path), manifest=tmp_path / "m.json", callback=dies)
    record = json.loads((tmp_path / "m.json").read_text())
    assert [each["state"] for each in record["pictures"]] == ["made", "not begun", "not begun"]
    made = transfer_many(jobs(tmp_path), manifest=tmp_path / "m.json")
    assert [each.state for each in made] == ["was there", "made", "made"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"output": "0.png"}, ParameterError, "is the output of two jobs"),
        ({"output": "nowhere/x.png"}, ImageError, "nowhere"),
        ({"output": "x.gif"}, ImageError, "x.gif"),
        ({"output": PHOTOGRAPH}, ParameterError, "is an input and an output"),
        ({"colours": "match"}, ParameterError, 'no setting "colours"'),
        ({"iterations": 0}, ParameterError, "iterations is 0"),
    ],
)
def test_jobs_are_checked_before_the_work_begins(tmp_path, change, error, words):
    given = jobs(tmp_path)
    if isinstance(change.get("output"), str):
        change = {"output": tmp_path / change["output"]}
    given[2].update(change)
    with pytest.raises(error, match=words):
        transfer_many(given)
    assert list(Path(tmp_path).iterdir()) == []


def test_a_job_without_an_output(tmp_path):
    with pytest.raises(ParameterError, match='no "output"'):
        transfer_many([{"content": PHOTOGRAPH, "style": PAINTING}])


@pytest.mark.parametrize("content", ["{", "[]", '{"pictures": [1]}', "\xff"])
def test_what_is_no_manifest_is_not_replaced(tmp_path, content):
    (tmp_path / "m.json").write_text(content, encoding="latin-1")
    with pytest.raises(ParameterError, match="is not a manifest"):
        transfer_many(jobs(tmp_path), manifest=tmp_path / "m.json")
    assert (tmp_path / "m.json").read_text(encoding="latin-1") == content


@pytest.mark.slow
def test_workers_make_the_same_pictures(tmp_path):
    pytest.importorskip("distributed", reason="clusters need Dask")
    from stylecore import cluster

    given = jobs(tmp_path)
    (tmp_path / "bad.jpg").write_text("not a picture")
    given.append({**given[0], "content": tmp_path / "bad.jpg", "output": tmp_path / "bad.png"})
    with cluster.workers(2) as client:
        made = transfer_many(given, client=client)
    assert [each.state for each in made] == ["made"] * 3 + ["failed"]
    for i, each in enumerate(made[:3]):
        expected = transfer(PHOTOGRAPH, PAINTING, seed=i, init="noise", **QUICK)
        np.testing.assert_array_equal(np.asarray(Image.open(each.output)), np.asarray(expected.image))
