"""What changes when one image takes another's place."""

from __future__ import annotations

from dataclasses import replace

from gpuspawner.core.drift import Change, Difference, Side, TrainingRun, compare_images, compare_runs

RUN = TrainingRun("w", (2.0, 1.0, 0.5), {"python": "p", "torch": "t"}, 0.02)
OLD = Side(
    image="pytorch-2.7",
    digest="sha256:1",
    versions={"torch": "2.7.1", "cuda": "12.6", "nccl": None},
    packages={"torch": "2.7.1", "numpy": "2.3.0", "gone": "1.0"},
    debian_packages={"git": "1:2.47"},
    minimum_driver="525.60.13",
    compute_capabilities=("5.0", "8.0"),
    size_bytes=100,
    runs={"cpu-avx2": RUN, "sm_80": RUN},
)
NEW = replace(
    OLD,
    image="pytorch-2.9",
    versions={"torch": "2.9.1", "cuda": "12.6", "nccl": "2.27.5"},
    packages={"torch": "2.9.1", "numpy": "2.3.0", "fresh": "0.1"},
    minimum_driver=None,
    compute_capabilities=("8.0", "12.0"),
    size_bytes=90,
    runs={"cpu-avx2": replace(RUN, weights="x", losses=(2.0, 1.25, 0.25), step_seconds=0.01), "sm_90": RUN},
)


def test_every_difference() -> None:
    found = compare_images(OLD, NEW)
    assert found.versions == (
        Difference("nccl", Change.ADDED, None, "2.27.5"),
        Difference("torch", Change.CHANGED, "2.7.1", "2.9.1"),
    )
    assert found.packages == (
        Difference("fresh", Change.ADDED, None, "0.1"),
        Difference("gone", Change.REMOVED, "1.0", None),
        Difference("torch", Change.CHANGED, "2.7.1", "2.9.1"),
    )
    assert found.debian_packages == ()
    assert found.minimum_driver == Difference("driver", Change.REMOVED, "525.60.13", None)
    assert (found.capabilities_lost, found.capabilities_gained) == (("5.0",), ("12.0",))
    assert found.size_bytes == -10
    assert (found.only_old, found.only_new) == (("sm_80",), ("sm_90",))
    (run,) = found.runs
    assert (run.architecture, run.rng_changed, run.weights_equal) == ("cpu-avx2", (), False)
    assert (run.largest_difference, run.at_step, run.first_step) == (0.25, 2, 2)
    assert run.step_seconds == (0.02, 0.01)
    assert not found.none


def test_an_image_does_not_differ_from_itself() -> None:
    found = compare_images(OLD, OLD)
    assert found.none
    assert [(run.largest_difference, run.first_step) for run in found.runs] == [(0.0, None)] * 2


def test_the_same_packages_that_compute_otherwise_are_a_drift() -> None:
    assert not compare_images(OLD, replace(OLD, runs={"sm_80": replace(RUN, weights="x")})).none


def test_other_random_numbers_are_told_apart_from_other_results() -> None:
    assert compare_runs("sm_80", RUN, replace(RUN, rng={"python": "p"})).rng_changed == ("torch",)


def test_curves_of_other_lengths_are_compared_as_far_as_both_go() -> None:
    found = compare_runs("sm_80", RUN, replace(RUN, losses=(2.0, 1.0)))
    assert (found.steps, found.largest_difference, found.weights_equal) == ((3, 2), 0.0, False)
