"""The run prepared for two short GPU jobs, rehearsed on the processor."""

from dataclasses import replace

import pytest
import torch
from decant_train.codec import sensitivity, train, validation
from decant_train.common.checkpoint import read_description
from decant_train.data import photos
from decant_train.gpu import prepare, shards
from decant_train.gpu.plan import MOST_BACK, Plan
from decant_train.gpu.run import read_parts, run_call, write_parts

from tests.helpers.small_codecs import with_validation


def test_plan_fits_into_the_session():
    plan = Plan()
    assert all(plan.timeout_s(call) <= 600 for call in range(plan.calls))
    assert all(len(plan.command(call)) < 2000 for call in range(plan.calls))
    with pytest.raises(ValueError, match="are allowed"):
        replace(plan, minutes=(8.0, 8.0))
    with pytest.raises(ValueError, match="at most 9 minutes"):
        replace(plan, minutes=(9.0, 0.5))


def test_no_tensor_is_made_on_the_wrong_device():
    prepare.check_devices(Plan(shape=prepare.REHEARSAL))


def test_a_tensor_on_the_wrong_device_is_found(monkeypatch):
    def wrong(known):
        return torch.ones(known.shape[2:], dtype=torch.bool) & (torch.rand(known.shape[2:]) < 1)

    monkeypatch.setattr("decant_train.codec.entropy_model.anchor_positions", wrong)
    with pytest.raises(RuntimeError, match="meta"):
        prepare.check_devices(Plan(shape=prepare.REHEARSAL))


def test_shards_hold_all_pictures_within_their_size(photo_folder, tmp_path):
    names = {path.name for path in photo_folder.iterdir()}
    made = shards.write_shards([photo_folder], tmp_path, 2, 500_000)
    found = [photos.PackedFile(path).names for path in made]
    assert all(path.stat().st_size <= 500_000 for path in made)
    assert set(found[0]) | set(found[1]) == names
    assert not set(found[0]) & set(found[1])
    assert abs(len(found[0]) - len(found[1])) <= 1


def test_pictures_that_cannot_fit_are_refused(photo_folder, tmp_path):
    with pytest.raises(shards.ShardError, match="do not fit"):
        shards.write_shards([photo_folder], tmp_path, 1, 5_000)


def test_weights_come_back_in_files_of_at_most_15_mb(tmp_path):
    torch.manual_seed(0)
    weights = {f"layer{i}": torch.randn(1000, 1000) for i in range(20)} | {"count": torch.arange(3)}
    count = write_parts(weights, tmp_path)
    assert count == 3
    assert all(path.stat().st_size <= MOST_BACK for path in tmp_path.iterdir())
    found = read_parts(tmp_path)
    assert set(found) == set(weights)
    torch.testing.assert_close(found["layer3"], weights["layer3"], atol=2e-3, rtol=1e-3)
    assert torch.equal(found["count"], weights["count"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarser measurements that take less time."""
    monkeypatch.setattr(train, "PATCHES", 2000)
    monkeypatch.setattr(sensitivity, "PROBES", 6)
    monkeypatch.setattr(validation, "SCORED_AT", (2.0,))


@pytest.mark.slow
def test_both_calls_are_rehearsed(photo_folder, tmp_path, quick):
    source = with_validation(photo_folder, tmp_path / "photos")
    assert prepare.rehearse([source], tmp_path / "gpu", steps_minutes=0.05) > 1


@pytest.mark.slow
def test_what_failed_in_the_trial_is_left_out_of_both_calls(photo_folder, tmp_path, quick, monkeypatch):
    def failing(*_):
        raise RuntimeError("this machine cannot")

    monkeypatch.setattr(train, "Encoding", failing)
    plan = prepare.small_plan(0.03)
    shards.write_shards([photo_folder], tmp_path, 1, plan.shard_bytes)
    for call in range(plan.calls):
        run_call(plan, call, tmp_path, tmp_path / "out")
    assert read_description(tmp_path / "out")["options"]["refine_from"] == 1.0
