"""A run killed (SIGKILL) at a few random moments and resumed ends as the run that was left alone."""
import glob
import os
import signal
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
    # A run is killed at each of its checkpoints. Where all kills came too late, after the checkpoint was whole, the next
    # run has to show it.
    torn, runs = 0, 0
    while torn == 0:
        runs += 1
        check(runs <= 20, "no kill met a checkpoint that was being written")
        run_dir = f"{folder}/killed{runs}"
        pattern = f"{run_dir}/checkpoints/.tmp-step-*"
        for _ in range(10):
            before = set(glob.glob(pattern))
            process = start(*train_arguments(data, run_dir, **settings))
            wait_for(lambda: process.poll() is not None or set(glob.glob(pattern)) - before)
            process.kill()
            if finish(process).code != -signal.SIGKILL:
                break  # it ended
            torn += any(not os.path.exists(f"{left}/manifest.json") for left in glob.glob(pattern))
            for checkpoint in checkpoints(run_dir):
                digest(checkpoint)  # every checksum is right
    print(f"{torn} torn checkpoints of {runs} runs")
    run(*train_arguments(data, run_dir, **settings))
    check(digest(run_dir) == digest(f"{folder}/straight"), "the resumed run differs from the uninterrupted one")
    check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")


main(sys.modules[__name__])
