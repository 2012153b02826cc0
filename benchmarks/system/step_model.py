"""A model of step time fitted to measurements: seconds = sum of coefficient * feature, no coefficient negative.

Least squares of the relative error, by coordinate descent; nothing but the standard library.
"""
import statistics

# Of one rank and step. The first column of the printed table.
FEATURES = [
    ("link", "s of its bytes on the wire, frames' heads included", lambda c, r: wire_seconds(c[2], r)),
    ("message", "messages sent", lambda c, r: r["messages_of_rank"]),
    ("byte", "bytes sent: copied, summed, passed to the kernel", lambda c, r: r["sent_of_rank"]),
    ("key", "keys read and pooled", lambda c, r: r["keys_of_rank"]),
    ("row", "unique rows found, gathered, updated", lambda c, r: r["rows_of_rank"]),
    ("sample", "samples of its dense net", lambda c, r: r["dense_samples"]),
    ("step", "1", lambda c, r: 1.0),
]


def wire_seconds(mbit, result):
    return result["sent_of_rank"] * (1 + 66 / 1448) * 8 / (mbit * 1e6)


def features(case, result):
    return [f(case, result) for _, _, f in FEATURES]


def fit(rows, times, rounds=4000):
    """Coefficients >= 0 that make the sum of squares of relative errors least."""
    n = len(rows[0])
    scaled = [[value / t for value in row] for row, t in zip(rows, times)]
    size = [max(max(row[j] for row in scaled), 1e-30) for j in range(n)]
    scaled = [[row[j] / size[j] for j in range(n)] for row in scaled]
    x = [0.0] * n
    left = [1.0] * len(scaled)   # 1 - row . x
    for _ in range(rounds):
        moved = 0.0
        for j in range(n):
            square = sum(row[j] ** 2 for row in scaled)
            if square == 0:
                continue
            step = max(-x[j], sum(row[j] * l for row, l in zip(scaled, left)) / square)
            x[j] += step
            left = [l - row[j] * step for row, l in zip(scaled, left)]
            moved = max(moved, abs(step))
        if moved < 1e-9:
            break
    return [value / s for value, s in zip(x, size)]


def errors(coefficients, rows, times):
    return [abs(sum(c * v for c, v in zip(coefficients, row)) / t - 1) for row, t in zip(rows, times)]


def fit_all(measured):
    """`measured`: (case, result) pairs. Coefficients, errors of the fit, and errors where each case in turn is left out."""
    rows = [features(case, result) for case, result in measured]
    times = [result["step_s"] for _, result in measured]
    coefficients = fit(rows, times)
    left_out = []
    for case in sorted({tuple(case) for case, _ in measured}):
        inside = [i for i, (other, _) in enumerate(measured) if tuple(other) != case]
        outside = [i for i, (other, _) in enumerate(measured) if tuple(other) == case]
        if not inside:
            continue
        without = fit([rows[i] for i in inside], [times[i] for i in inside], 300)
        left_out += errors(without, [rows[i] for i in outside], [times[i] for i in outside])
    return coefficients, errors(coefficients, rows, times), left_out


def markdown(measured):
    if len(measured) < 2 * len(FEATURES):
        return ""
    coefficients, inside, left_out = fit_all(measured)
    text = "| term | per | coefficient |\n|---|---|---|\n"
    for (name, unit, _), value in zip(FEATURES, coefficients):
        text += f"| {name} | {unit} | {value:.3g}{'' if name == 'link' else ' s'} |\n"

    def words(values):
        ordered = sorted(values)
        return f"median {100 * statistics.median(ordered):.0f}%, nine of ten below {100 * ordered[int(0.9 * len(ordered))]:.0f}%"
    text += f"\nRelative error over {len(measured)} step times: {words(inside)}; of cases left out of the fit: {words(left_out)}.\n"
    return text
