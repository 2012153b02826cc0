"""A run killed (SIGKILL) at a few random moments and resumed ends as the run that was left alone."""
import glob
import os
import sys

from harness import (check, checkpoints, digest, finish, leftovers, main, run, start, train_arguments, wait_for,
                     write_criteo)
from kill import check_killed_runs_end_equal


def test_killed_run_resumes_bit_equal(folder):
    check_killed_runs_end_equal(folder, samples=8000, kills=4, kills_per_run=2, seed=1)


def test_kill_while_a_checkpoint_is_written_leaves_the_one_before(folder):
    # So many keys that a checkpoint takes a while to write.
    data = write_criteo(f"{folder}/train.tsv", 8000, keys=20000)
    settings = {"checkpoint__every_steps": 20, "model__dim": 16}
    run(*train_arguments(data, f"{folder}/straight", **settings))
    run_dir = f"{folder}/killed"
    torn = 0
    for _ in range(20):
        process = start(*train_arguments(data, run_dir, **settings))
        pattern = f"{run_dir}/checkpoints/.tmp-step-*"
        before = set(glob.glob(pattern))
        try:
            wait_for(lambda: set(glob.glob(pattern)) - before, process)
        except AssertionError:
            break  # it ended
        process.kill()
        finish(process)
        for left in glob.glob(pattern):
            torn += not os.path.exists(f"{left}/manifest.json")
        for checkpoint in checkpoints(run_dir):
            digest(checkpoint)  # every checksum is right
    finish(process)
    check(torn > 0, "no kill met a checkpoint that was being written")
    run(*train_arguments(data, run_dir, **settings))
    check(digest(run_dir) == digest(f"{folder}/straight"), "the resumed run differs from the uninterrupted one")
    check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")


main(sys.modules[__name__])
