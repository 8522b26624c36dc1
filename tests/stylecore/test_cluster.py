"""Pictures on the processes of a Dask cluster: the same bits as without one."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import stylecore
from stylecore import ParameterError, StylecoreError, transfer
from stylecore.samples import PAINTING, PHOTOGRAPH

pytest.importorskip("distributed", reason="clusters need Dask")

from stylecore import cluster

pytestmark = pytest.mark.slow

QUICK = {"network": "small", "size": 128, "iterations": 5, "pyramid": 2, "optimizer": "lbfgs", "tile": 48}


@pytest.fixture(scope="module")
def client():
    with cluster.workers(2) as client:
        yield client


def process_of(client, k):
    return list(client.run(os.getpid).values())[k]


@pytest.fixture(scope="module")
def expected():
    return transfer(PHOTOGRAPH, PAINTING, **QUICK).array


def test_workers_have_one_thread_and_this_process_keeps_its_own(client):
    def threads():
        import numba

        return numba.config.NUMBA_NUM_THREADS, numba.get_num_threads()

    before = os.environ.get("NUMBA_NUM_THREADS")
    assert list(client.run(threads).values()) == [(1, 1)] * 2
    assert os.environ.get("NUMBA_NUM_THREADS") == before


def test_a_picture_over_workers_has_the_same_bits(client, expected):
    np.testing.assert_array_equal(transfer(PHOTOGRAPH, PAINTING, client=client, **QUICK).array, expected)


@pytest.mark.parametrize(
    "more",
    [
        {"regions": [(np.arange(768) < 300.0 * np.ones((576, 1)), "all"), ("rest", "all")], "edges": "reflect"},
        {"style_loss": "wasserstein", "content_weight": 0, "content_layers": []},
    ],
)
def test_all_settings_work(client, more):
    given = {**QUICK, "iterations": 2, "pyramid": 1, **more}
    alone, together = (transfer(PHOTOGRAPH, PAINTING, client=each, **given).array for each in (None, client))
    np.testing.assert_array_equal(together, alone)


def test_a_worker_that_is_killed_changes_nothing(client, expected):
    killed = []

    def callback(evaluation, image):
        if evaluation.number == 3:
            killed.append(process_of(client, 0))
            os.kill(killed[0], signal.SIGKILL)

    made = transfer(PHOTOGRAPH, PAINTING, client=client, callback=callback, **QUICK)
    np.testing.assert_array_equal(made.array, expected)
    assert killed and killed[0] not in client.run(os.getpid).values()


@pytest.mark.parametrize("name", ["_forward_each", "_backward_each"])
def test_a_worker_that_is_killed_within_an_evaluation_changes_nothing(client, expected, monkeypatch, name):
    killed, original, passes = [], getattr(cluster.ClusterTiles, name), [0]

    def kills(tiles, *given):
        passes[0] += 1
        if passes[0] == 2:  # The picture is no longer the content image, and another evaluation follows.
            killed.append(process_of(client, 0))
            os.kill(killed[0], signal.SIGKILL)
        return original(tiles, *given)

    monkeypatch.setattr(cluster.ClusterTiles, name, kills)
    np.testing.assert_array_equal(transfer(PHOTOGRAPH, PAINTING, client=client, **QUICK).array, expected)
    assert killed and killed[0] not in client.run(os.getpid).values()


def test_a_scheduler_that_goes_away_ends_in_a_sentence(tmp_path, expected):
    with cluster.workers(1) as client:

        def callback(evaluation, image):
            if evaluation.number == 4:
                threading.Thread(target=client.cluster.close).start()
                time.sleep(3)

        checkpoint = stylecore.Checkpoint(tmp_path / "run.ckpt", every=0)
        with pytest.raises(StylecoreError, match="does not answer any more"):
            transfer(PHOTOGRAPH, PAINTING, client=client, callback=callback, checkpoint=checkpoint, **QUICK)
    np.testing.assert_array_equal(stylecore.resume(tmp_path / "run.ckpt").array, expected)


def test_versions_are_compared(client, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "0.0.1")
    with pytest.raises(StylecoreError, match=r"has stylecore .*, and this process 0\.0\.1"):
        cluster.prepare(client)


def test_bad_input(client, monkeypatch):
    monkeypatch.setattr(cluster, "_TIMEOUT", 1)
    with (
        pytest.raises(StylecoreError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"),
        cluster.connected("tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(ParameterError, match="number of workers is 0"), cluster.workers(0):
        pass
    with pytest.raises(ParameterError, match="cannot be sent to workers"):
        transfer(PHOTOGRAPH, PAINTING, client=client, **{**QUICK, "network": stylecore.network.load_network("small")})
    with pytest.raises(ParameterError, match='workers compute on "cpu"'):
        transfer(PHOTOGRAPH, PAINTING, client=client, **QUICK, device="reference")


def test_interrupts_are_left_to_the_first_process(client):
    before = client.run(os.getpid)
    for process in before.values():
        os.kill(process, signal.SIGINT)
    assert client.run(os.getpid) == before


def test_faults_of_pictures_do_not_end_the_others(tmp_path):
    import dask

    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    def fails():
        raise OSError(5, "the disk is gone")

    def is_defective():
        raise LookupError("a defect")

    job = {"style": PAINTING, "network": "small", "size": 32, "iterations": 2}
    actions = [dies, fails, is_defective, None]
    jobs = [
        {**job, "content": PHOTOGRAPH if action is None else local(action), "output": tmp_path / f"{i}.png"}
        for i, action in enumerate(actions)
    ]
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster.workers(1) as client:
        made = stylecore.transfer_many(jobs, client=client, manifest=tmp_path / "manifest.json")
    assert [each.state for each in made] == ["failed", "failed", "failed", "made"]
    for each, words in zip(made, ["killed again and again", "the disk is gone", "LookupError: a defect"], strict=False):
        assert words in each.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.png", "manifest.json"]


def local(action):
    """A picture whose class is sent to the worker, which cannot import this file."""

    class Picture:
        shape, dtype = (32, 32, 3), np.dtype(float)

        def __array__(self, dtype=None, copy=None):
            action()

    return Picture()


def test_weights_are_loaded_again_when_the_only_worker_dies(expected, tmp_path):
    weights = stylecore.weights.load("small")

    def callback(evaluation, image):
        if evaluation.number == 2:
            os.kill(process_of(client, 0), signal.SIGKILL)

    with cluster.workers(1) as client:
        made = transfer(PHOTOGRAPH, PAINTING, client=client, callback=callback, **{**QUICK, "network": weights})
    np.testing.assert_array_equal(made.array, expected)


def test_a_worker_without_the_program_is_named(client, monkeypatch):
    def run(function):
        raise ModuleNotFoundError("No module named 'stylecore'")

    monkeypatch.setattr(client, "run", run)
    with pytest.raises(StylecoreError, match=r"cannot import stylecore .*; install stylecore"):
        cluster.prepare(client)


def test_other_versions_of_python_are_reported(client, monkeypatch):
    monkeypatch.setattr(cluster.platform, "python_version", lambda: "2.7.18")
    with pytest.warns(UserWarning, match=r"has Python 3.* \(here 2\.7\.18\)"):
        cluster.prepare(client)


def test_an_array_of_dask_is_given_back_where_one_came_in(tmp_path):
    import dask.array

    content = np.random.default_rng(0).random((48, 64, 3))
    given = {"network": "small", "iterations": 2, "size": 64}
    expected = transfer(content, PAINTING, **given)
    result = transfer(dask.array.from_array(content, chunks=16), PAINTING, **given)
    assert isinstance(result.array, dask.array.Array)
    np.testing.assert_array_equal(result.array.compute(), expected.array)
    result.save(tmp_path / "out.png")
    assert result.image.tobytes() == expected.image.tobytes()
