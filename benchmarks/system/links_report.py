"""Tables and picture of what links.py measured."""
import step_model
from small_multiples import SmallMultiples

PLACEMENTS = ["des", "des_rs", "field_a2a", "rows_a2a"]
COLORS = {"des": "#0b6e4f", "des_rs": "#6fb98f", "field_a2a": "#c8553d", "rows_a2a": "#3d5a98"}
NEAR = 1.10   # a choice this near to the best counts as the best


def best_of(of):
    return min((p for p in PLACEMENTS if p in of), key=lambda p: of[p]["step_s"])


def verdict(of):
    """Time of the planner's choice over that of the best placement, and whether it is near: within 10%, or within noise: a
    round of the choice was as fast as some round of the best."""
    best, auto = of[best_of(of)], of["auto"]
    ratio = auto["step_s"] / best["step_s"]
    return ratio, ratio <= NEAR or auto["fastest_s"] <= best["slowest_s"]


def line(result):
    model, keys, mbit = result["case"]
    of = result["of"]
    ratio, near = verdict(of)
    times = "  ".join(f"{p} {1e3 * of[p]['step_s']:.2f}" for p in PLACEMENTS if p in of)
    return (f"{model} {keys} keys, {mbit} Mbit/s: {times} ms; auto {1e3 * of['auto']['step_s']:.2f} ms ({of['auto']['strategy']}), "
            f"{ratio:.2f} of the best{'' if near else ': NOT NEAR'}")


def _cell(result, best):
    text = f"{1e3 * result['step_s']:.2f} ({1e3 * result['fastest_s']:.2f}-{1e3 * result['slowest_s']:.2f}), {result['cores_busy']:.1f}"
    return f"**{text}**" if best else text


def _timed(results):
    text = "| model | keys | Mbit/s | " + " | ".join(PLACEMENTS) + " | planner | of the best |\n" + "|---" * 9 + "|\n"
    near_cases, des_wins, des_loses = 0, [], []
    timed = sorted((r for r in results["timed"].values()), key=lambda r: (r["case"][0], r["case"][1], r["case"][2]))
    for result in timed:
        model, keys, mbit = result["case"]
        of, best = result["of"], best_of(result["of"])
        ratio, near = verdict(of)
        near_cases += near
        cells = [_cell(of[p], p == best) if p in of else "" for p in PLACEMENTS]
        text += f"| {model} | {keys} | {mbit} | " + " | ".join(cells) + \
                f" | {of['auto']['strategy']} {1e3 * of['auto']['step_s']:.2f} | {ratio:.2f}{'' if near else ' (far)'} |\n"
        ours = min(of[p]["step_s"] for p in ("des", "des_rs"))
        theirs = min(of[p]["step_s"] for p in ("field_a2a", "rows_a2a") if p in of)
        (des_wins if ours < theirs else des_loses).append((theirs / ours, f"{model} {keys} keys {mbit} Mbit/s"))
    text += f"\nThe planner's choice is within 10% of the best placement's time, or within noise, in {near_cases} of {len(timed)} cases.\n"
    text += f"\nDES, in one of its two forms, is the fastest in {len(des_wins)} cases and slower than a rival in {len(des_loses)}.\n"
    if des_wins:
        top = max(des_wins)
        text += f"It wins most at {top[1]}: {top[0]:.2f} times as fast as the better of its rivals.\n"
    if des_loses:
        low = min(des_loses)
        text += f"It loses most at {low[1]}: {low[0]:.2f} times as fast.\n"
    return text


def _bytes(results):
    text = "| model | keys | ranks | " + " | ".join(PLACEMENTS) + " | planner |\n" + "|---" * 8 + "|\n"
    rows = {}
    for result in results["timed"].values():
        rows[(result["case"][0], result["case"][1], 2)] = result["of"]
    for result in results["bytes_of_four"].values():
        rows[(result["case"][0], result["case"][1], 4)] = result["of"]
    for (model, keys, ranks), of in sorted(rows.items()):
        totals = {p: sum(of[p]["bytes_per_sample"].values()) for p in of}
        cells = [f"{totals[p]:.0f}" if p in totals else "" for p in PLACEMENTS]
        text += f"| {model} | {keys} | {ranks} | " + " | ".join(cells) + f" | {totals['auto']:.0f} {of['auto']['strategy']} |\n"
    return text


def markdown(results):
    text = "Milliseconds a step: median of the rounds (fastest-slowest), cores busy of both ranks together.\n\n"
    text += _timed(results) if results["timed"] else ""
    text += "\nBytes a sample over all ranks:\n\n" + _bytes(results)
    measured = [(r["case"], r["of"][p]) for r in results["timed"].values() for p in PLACEMENTS if p in r["of"]]
    fitted = step_model.markdown(measured)
    return text + (f"\nThe fitted model of a step:\n\n{fitted}" if fitted else "")


def svg(results):
    """A row for each model, a column for each number of keys; step time over bandwidth."""
    timed = [r for r in results["timed"].values()]
    models = sorted({r["case"][0] for r in timed})
    keys = sorted({r["case"][1] for r in timed})
    links = sorted({r["case"][2] for r in timed})
    times = [of["step_s"] * 1e3 for r in timed for of in r["of"].values()]
    picture = SmallMultiples(
        "Milliseconds a step, two ranks, by bandwidth of the link; a ring is the planner's choice", COLORS,
        [[f"{model}, {count} key{'s' if count > 1 else ''} a field" for count in keys] for model in models], links, times,
        [(m, f"{m // 1000} Gbit/s" if m >= 1000 else f"{m} Mbit/s") for m in links], " ms")
    for row, model in enumerate(models):
        for column, count in enumerate(keys):
            here = {r["case"][2]: r["of"] for r in timed if tuple(r["case"][:2]) == (model, count)}
            for placement in PLACEMENTS:
                picture.line(row, column, placement, [(m, 1e3 * here[m][placement]["step_s"])
                                                      for m in links if m in here and placement in here[m]])
            for m in links:
                if m in here:
                    picture.ring(row, column, m, 1e3 * here[m]["auto"]["step_s"])
    return picture.svg()
