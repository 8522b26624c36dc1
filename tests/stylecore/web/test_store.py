import json
import time

import pytest

from stylecore.web.store import Job, Picture, Store, new_id
from stylecore.web.wanted import rest_of, work_of

DAY = 86400.0


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def add_picture(session, age=0.0):
    picture = Picture(new_id(), "x.png", "picture", 4, 3, "png", created=time.time() - age)
    session.picture_file(picture).write_bytes(bytes(10))
    session.add_picture(picture)
    return picture


def add_job(session, age=0.0, state="done", size=1000):
    content, style = add_picture(session, age), add_picture(session, age)
    job = Job(new_id(), content.id, [style.id], [], [], {}, {}, state=state, created=time.time() - age)
    session.save_job(job)
    (session.job_folder(job) / "picture.png").write_bytes(bytes(size))
    return job


def test_everything_is_there_after_a_restart(store, tmp_path):
    key, session = store.new_session()
    job = add_job(session)
    again = Store(tmp_path).session(key)
    assert again.jobs == {job.id: job} and again.pictures == session.pictures
    assert Store(tmp_path).session("another key") is None
    assert key not in str(list(tmp_path.rglob("*")))


def test_damaged_records_are_ignored(store, tmp_path):
    key, session = store.new_session()
    kept, damaged, lacking = (add_job(session) for _ in range(3))
    (session.job_folder(damaged) / "job.json").write_text("{")
    (session.job_folder(lacking) / "job.json").write_text(json.dumps({"id": lacking.id}))
    assert list(Store(tmp_path).session(key).jobs) == [kept.id]


def test_steps_that_were_made_twice_count_once(store):
    _, session = store.new_session()
    job = add_job(session)
    rows = [[0, 1, 4, 3, 9, 1, 7, 1], [0, 2, 4, 3, 8, 1, 6, 1], [0, 3, 4, 3, 7, 1, 5, 1], [0, 2, 4, 3, 8, 1, 6, 1]]
    rows += [[1, 1, 4, 3, 5, 1, 3, 1]]
    text = "\n".join(",".join(map(str, row)) for row in rows) + "\n1,2,4"
    (session.job_folder(job) / "losses.csv").write_text(text)
    assert session.losses(job) == [rows[0], rows[3], rows[4]]


def test_old_jobs_are_swept_and_their_pictures(store):
    _, session = store.new_session()
    old, new, paused = add_job(session, 40 * DAY), add_job(session), add_job(session, 40 * DAY, "paused")
    unused = add_picture(session, 3 * DAY)
    store.sweep(days=30, gigabytes=1)
    assert list(session.jobs) == [new.id, paused.id]
    assert not session.job_folder(old).exists()
    assert unused.id not in session.pictures and not session.picture_file(unused).exists()
    assert set(session.pictures) == {*new.pictures, *paused.pictures}


def test_the_oldest_jobs_are_swept_if_all_take_too_much_space(store):
    _, session = store.new_session()
    jobs = [add_job(session, age, size=10**6) for age in (3.0, 2.0, 1.0)]
    store.sweep(days=30, gigabytes=2.5e-3)
    assert list(session.jobs) == [job.id for job in jobs[1:]]


def test_old_empty_sessions_are_swept(store):
    key, _ = store.new_session()
    store.sweep(days=1, gigabytes=1)
    assert store.session(key)
    store.sweep(days=-1, gigabytes=1)
    assert store.session(key) is None


SCALES = [[[24, 32], 10], [[48, 64], 8], [[96, 128], 6]]


@pytest.mark.parametrize(
    ("step", "wanted", "rest"),
    [
        (4, SCALES, {"pyramid": "32 64", "iterations": "6 8 6"}),
        (10, SCALES, {"pyramid": "32 64", "iterations": "1 8 6"}),
        (13, SCALES, {"pyramid": "64", "iterations": "5 6"}),
        (24, SCALES, {"pyramid": "1", "iterations": "1"}),
        (13, [*SCALES, [[192, 256], 4]], {"pyramid": "64 128", "iterations": "5 6 4"}),
        (20, SCALES[:1], {"pyramid": "1", "iterations": "10"}),
        (20, [], {}),
    ],
)
def test_what_is_left_when_a_dial_is_changed(step, wanted, rest):
    assert rest_of(wanted, SCALES, step) == rest


def test_the_work_of_scales():
    assert work_of(SCALES) == pytest.approx((24 * 32 * 10 + 48 * 64 * 8 + 96 * 128 * 6) / 1e6)
