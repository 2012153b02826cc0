"""Deterministic mode with ranks that are processes: the digest of one process, and of ranks that are threads."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import SLUICE, check, check_in, digest, run, train_arguments, write_criteo  # noqa: E402

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe"]


def settings(**more):
    values = {"deterministic": True, "threads": 1, "train__max_steps": 12, "train__clip_norm": 0.1,
              "model__batch_norm": True, "strategy__timeout_s": 30}
    values.update(more)
    return values


def test_digest_is_that_of_one_process_and_of_threads(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    alone = os.path.join(path, "alone")
    run(*train_arguments(data, alone, **settings()))
    expected = digest(alone)
    for ranks, placement in [(2, "des"), (3, "des_rs"), (4, "rows_a2a"), (3, "field_a2a"), (2, "auto"), (6, "des"), (8, "des_rs")]:
        folder = os.path.join(path, f"processes-{ranks}-{placement}")
        arguments = train_arguments(data, folder, **settings(strategy__placement=placement))
        process = subprocess.run([*MPIRUN, "-n", str(ranks), SLUICE, *map(str, arguments)], capture_output=True,
                                 text=True, timeout=120, check=False)
        check(process.returncode == 0, process.stderr)
        check(digest(folder) == expected, f"{ranks} processes, {placement}: {digest(folder)}, not {expected}")
        folder = os.path.join(path, f"threads-{ranks}-{placement}")
        run(*train_arguments(data, folder, **settings(strategy__placement=placement)), "--ranks", str(ranks))
        check(digest(folder) == expected, f"{ranks} threads, {placement}: {digest(folder)}, not {expected}")


def test_digest_does_not_know_how_many_ranks_went_before(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    alone = os.path.join(path, "alone")
    run(*train_arguments(data, alone, **settings()))
    expected = digest(alone)
    folder = os.path.join(path, "run")
    # Ranks in turn, each group from the checkpoint of the one before, and placements as they come.
    for steps, ranks, placement in [(3, 1, "auto"), (5, 2, "des"), (7, 4, "rows_a2a"), (9, 3, "des_rs"), (12, 8, "auto")]:
        arguments = train_arguments(data, folder, **settings(strategy__placement=placement, train__max_steps=steps))
        process = subprocess.run([*MPIRUN, "-n", str(ranks), SLUICE, *map(str, arguments)], capture_output=True,
                                 text=True, timeout=120, check=False)
        check(process.returncode == 0, process.stderr)
    check(digest(folder) == expected, f"{digest(folder)}, not {expected}")


def test_digest_of_mixed_placements_and_sharded_input_is_that_of_one_process(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 3000)
    alone = os.path.join(path, "alone")
    run(*train_arguments(data, alone, **settings()))
    mix = {"strategy.placement": "des_rs", "strategy.fields.C{1..3}": "field_a2a", "strategy.fields.C{4..9}": "rows_a2a",
           "strategy.input": "sharded"}
    folder = os.path.join(path, "mixed")
    process = subprocess.run([*MPIRUN, "-n", "3", SLUICE, *map(str, train_arguments(data, folder, **settings(**mix)))],
                             capture_output=True, text=True, timeout=120, check=False)
    check(process.returncode == 0, process.stderr)
    check(digest(folder) == digest(alone), f"{digest(folder)}, not {digest(alone)}")


def test_processors_that_differ_are_refused(path):
    data = write_criteo(os.path.join(path, "data.tsv"), 200)
    arguments = [SLUICE, *map(str, train_arguments(data, os.path.join(path, "run"), **settings()))]
    process = subprocess.run([*MPIRUN, "-n", "1", *arguments, ":", "-n", "1", "-x", "SLUICE_MAX_ISA=plain", *arguments],
                             capture_output=True, text=True, timeout=60, check=False)
    check(process.returncode == 2, process.stderr)
    check_in("deterministic: true needs one kind of processor", process.stderr)


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
