"""The optimizers, written from their papers in JAX.

`init(n)` gives the slots of n weights that form one row; `update(settings, t, w, g, slots)` gives (w, slots) after step
t = 1, 2, ... Arrays are [rows, n], slots [rows, ...]; a flat span of dense weights is one row. The lazy form for tables
(rows that a batch does not touch stay as they are, slots included) is `apply_rows`.
"""
import jax
import jax.numpy as jnp

DEFAULTS = {"learning_rate": 0.02, "momentum": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
            "initial_accumulator": 0.0, "ftrl_beta": 1.0, "ftrl_power": 0.5, "l1": 0.0, "l2": 0.0, "weight_decay": 0.0}


def penalised(s, w, g):
    return g + s["l2"] * w + s["l1"] * jnp.sign(w)


def sgd(s, t, w, g, slots):
    return w - s["learning_rate"] * penalised(s, w, g), slots


def momentum(s, t, w, g, slots):
    """Polyak's heavy ball: v = mu v + g, w = w - rate v."""
    velocity = s["momentum"] * slots[0] + penalised(s, w, g)
    return w - s["learning_rate"] * velocity, (velocity,)


def adagrad(s, t, w, g, slots):
    """Duchi, Hazan and Singer 2011, diagonal."""
    g = penalised(s, w, g)
    total = slots[0] + jnp.square(g)
    return w - s["learning_rate"] * g / (jnp.sqrt(total) + s["epsilon"]), (total,)


def rowwise_adagrad(s, t, w, g, slots):
    """One accumulator per row, of the mean square of its gradient."""
    g = penalised(s, w, g)
    total = slots[0] + jnp.mean(jnp.square(g), axis=1, keepdims=True)
    return w - s["learning_rate"] * g / (jnp.sqrt(total) + s["epsilon"]), (total,)


def ftrl(s, t, w, g, slots):
    """McMahan et al. 2013, algorithm 1, where the power of the per-coordinate rate is 1/2."""
    z, n = slots
    power = lambda x: jnp.sqrt(x) if s["ftrl_power"] == 0.5 else x ** s["ftrl_power"]
    sigma = (power(n + g * g) - power(n)) / s["learning_rate"]
    z = z + g - sigma * w
    n = n + g * g
    rate = (s["ftrl_beta"] + power(n)) / s["learning_rate"] + s["l2"]
    return jnp.where(jnp.abs(z) <= s["l1"], 0.0, -(z - jnp.sign(z) * s["l1"]) / rate), (z, n)


def adam(s, t, w, g, slots):
    """Kingma and Ba 2015, algorithm 1."""
    g = penalised(s, w, g)
    m = s["beta1"] * slots[0] + (1 - s["beta1"]) * g
    v = s["beta2"] * slots[1] + (1 - s["beta2"]) * g * g
    m_hat = m / (1 - s["beta1"] ** t)
    v_hat = v / (1 - s["beta2"] ** t)
    return w - s["learning_rate"] * m_hat / (jnp.sqrt(v_hat) + s["epsilon"]), (m, v)


def adamw(s, t, w, g, slots):
    """Loshchilov and Hutter 2019, algorithm 2, with the decay scaled by the learning rate."""
    stepped, slots = adam(s, t, w, g, slots)
    return stepped - s["learning_rate"] * s["weight_decay"] * w, slots


RULES = {"sgd": (sgd, 0), "momentum": (momentum, 1), "adagrad": (adagrad, 1), "rowwise_adagrad": (rowwise_adagrad, 1),
         "ftrl": (ftrl, 2), "adam": (adam, 2), "adamw": (adamw, 2)}


def init_slots(settings, w, row_wise=True):
    """Slots of rows w [rows, n]. Row-wise Adagrad on a span has no rows: it is Adagrad."""
    name = settings["name"]
    shape = (w.shape[0], 1) if name == "rowwise_adagrad" and row_wise else w.shape
    start = settings["initial_accumulator"]
    values = {"adagrad": (start,), "rowwise_adagrad": (start,), "ftrl": (0.0, start)}
    fill = values.get(name, (0.0,) * RULES[name][1])
    return tuple(jnp.full(shape, value) for value in fill)


def apply_dense(settings, t, w, g, slots):
    name = "adagrad" if settings["name"] == "rowwise_adagrad" else settings["name"]
    return RULES[name][0](settings, t, w, g, slots)


def decayed(settings, slots, missed):
    """Slots of rows [rows, n] after the steps [rows] that they missed, in which their gradient was zero."""
    names = {"momentum": ("momentum",), "adam": ("beta1", "beta2"), "adamw": ("beta1", "beta2")}
    if not settings.get("lazy_decay"):
        return slots
    return tuple(slot * (settings[name] ** missed)[:, None] for slot, name in zip(slots, names[settings["name"]]))


def apply_rows(settings, t, w, g, slots, touched, missed):
    """Only rows of the batch change."""
    slots = jax.tree.map(lambda now, old: jnp.where(touched[:, None], now, old), decayed(settings, slots, missed), slots)
    new_w, new_slots = RULES[settings["name"]][0](settings, t, w, g, slots)
    keep = touched[:, None]
    return jnp.where(keep, new_w, w), jax.tree.map(lambda new, old: jnp.where(keep, new, old), new_slots, slots)
