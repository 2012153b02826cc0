"""Runs killed at 20 random moments and resumed, in several settings, end as the runs that were left alone."""
import sys
import time

from harness import main
from kill import check_killed_runs_end_equal


def test_twenty_kills(folder):
    check_killed_runs_end_equal(folder, samples=40000, kills=20, kills_per_run=3, seed=int(time.time()))


def test_kills_with_shuffling_several_epochs_and_admission(folder):
    check_killed_runs_end_equal(folder, samples=15000, kills=8, kills_per_run=3, seed=int(time.time()), train__epochs=2,
                                data__shuffle_window=3000, data__negative_keep_rate=0.8,
                                tables__default__admission__kind="count", tables__default__admission__count=2,
                                tables__default__expiry__max_age_steps=40, optimizer__name="adam")


main(sys.modules[__name__])
