"""Ctrl-C leaves a checkpoint and exit code 130; the run then goes on to the same end."""
import signal
import sys

from harness import (ENDLESS, check, check_in, checkpoints, digest, finish, last_step, leftovers, main, run, start,
                     train_arguments, wait_for, write_criteo)


def interrupt(folder, number):
    data = write_criteo(f"{folder}/train.tsv", 3000)
    # Its own checkpoints would come late only: the one that is there is the interrupt's.
    settings = {"checkpoint__every_steps": 10**8, "log__every_steps": 1, **ENDLESS}
    process = start(*train_arguments(data, f"{folder}/run", **settings))

    def stepping():
        try:
            with open(f"{folder}/run/train.jsonl", encoding="utf-8") as log:
                return log.read().count("\n") >= 3
        except FileNotFoundError:
            return False

    wait_for(stepping, process)
    process.send_signal(number)
    outcome = finish(process)
    check(outcome.code == 130, f"expected exit code 130, got {outcome}")
    check(len(checkpoints(f"{folder}/run")) == 1, f"one checkpoint was expected: {checkpoints(f'{folder}/run')}")
    check_in(checkpoints(f"{folder}/run")[0], outcome.out + outcome.err)
    check(not leftovers(f"{folder}/run"))
    settings["train__max_steps"] = last_step(f"{folder}/run") + 5
    for run_dir in ("run", "straight"):
        run(*train_arguments(data, f"{folder}/{run_dir}", **settings))
    check(digest(f"{folder}/run") == digest(f"{folder}/straight"), "the resumed run differs from the uninterrupted one")


def test_interrupt_leaves_a_checkpoint(folder):
    interrupt(folder, signal.SIGINT)


def test_termination_leaves_a_checkpoint(folder):
    interrupt(folder, signal.SIGTERM)


main(sys.modules[__name__])
