"""A NaN in the data, or one that training makes, stops the run, says where, and leaves the last good checkpoint."""
import sys

from harness import (check, check_in, checkpoints, digest, leftovers, main, metrics, run, train_arguments,
                     write_criteo)


def test_nan_in_the_data_names_line_and_column(folder):
    def nan(columns):
        columns[3] = "nan"
        return columns

    data = write_criteo(f"{folder}/train.tsv", 4000, bad={3000: nan})
    run_dir = f"{folder}/run"
    outcome = run(*train_arguments(data, run_dir), code=3)
    check_in("train.tsv:3001", outcome.err)
    check_in("column 4", outcome.err)
    check(not leftovers(run_dir), f"left behind: {leftovers(run_dir)}")
    newest = checkpoints(run_dir)[-1]
    check_in("step-000000020", newest)
    digest(newest)


def test_skipped_lines_are_counted(folder):
    def nan(columns):
        columns[3] = "nan"
        return columns

    data = write_criteo(f"{folder}/train.tsv", 1000, bad={10: nan, 500: nan})
    outcome = run(*train_arguments(data, f"{folder}/run", data__on_bad_line="skip"))
    check_in("skipped 2 bad lines", outcome.out + outcome.err)
    check(metrics(f"{folder}/run")["samples"] == 998 and metrics(f"{folder}/run")["skipped_lines"] == 2)


def test_divergence_names_step_and_keeps_the_last_good_checkpoint(folder):
    data = write_criteo(f"{folder}/train.tsv", 4000)
    run_dir = f"{folder}/run"
    run(*train_arguments(data, run_dir, train__max_steps=10))
    before = digest(run_dir)
    # The same run with a learning rate that leaves the range of floats within a few steps.
    outcome = run(*train_arguments(data, f"{folder}/wild", optimizer__name="sgd", optimizer__learning_rate=1e30,
                                   checkpoint__every_steps=1), code=3)
    check_in("step ", outcome.err)
    for checkpoint in checkpoints(f"{folder}/wild"):
        digest(checkpoint)
    check(not leftovers(f"{folder}/wild"), f"left behind: {leftovers(f'{folder}/wild')}")
    check(digest(run_dir) == before)


main(sys.modules[__name__])
