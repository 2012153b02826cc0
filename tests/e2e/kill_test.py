"""A run killed (SIGKILL) at a few random moments and resumed ends as the run that was left alone."""
import sys

from harness import main
from kill import check_killed_runs_end_equal


def test_killed_run_resumes_bit_equal(folder):
    check_killed_runs_end_equal(folder, samples=8000, kills=4, kills_per_run=2, seed=1)


main(sys.modules[__name__])
