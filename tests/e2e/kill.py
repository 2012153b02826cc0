"""Runs that are killed at random moments and resumed, against the run that was left alone."""
import random
import signal
import time

from harness import check, checkpoints, digest, finish, leftovers, metrics, run, start, train_arguments, write_criteo


def check_killed_runs_end_equal(folder, samples, kills, runs, seed, **settings):
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = write_criteo(f"{folder}/train.tsv", samples, keys=1000)
    held_out = write_criteo(f"{folder}/eval.tsv", 500, seed=2, keys=1000)
    arguments = lambda run_dir: train_arguments(data, run_dir, **settings) + ["--eval", held_out]
    begin = time.monotonic()
    run(*arguments(f"{folder}/straight"))
    wall_s = time.monotonic() - begin
    expected = digest(f"{folder}/straight")
    hit = 0
    for i in range(runs):
        run_dir = f"{folder}/killed{i}"
        for _ in range(kills // runs):
            process = start(*arguments(run_dir))
            time.sleep(rng.uniform(0, wall_s))
            process.kill()
            hit += finish(process).code == -signal.SIGKILL
        run(*arguments(run_dir))
        check(digest(run_dir) == expected, f"run {i}: the resumed run differs from the uninterrupted one")
        check(metrics(run_dir)["auc"] == metrics(f"{folder}/straight")["auc"], "the AUC differs")
        check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")
        check(len(checkpoints(run_dir)) <= 2, "more checkpoints than checkpoint.keep")
    check(hit >= kills // 4, f"only {hit} of {kills} kills met a running process")
    print(f"{hit} of {kills} kills met a running process; a run takes {wall_s:.2f} s")
