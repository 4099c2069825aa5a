"""The independent mathematics: every encoding as scalar float64 formulas.

Nothing here imports rope_lab, shares a constant with it or is written to be fast. One
function per scaling method gives the angular frequencies; `relative_position` gives the
distance an encoding pretends two tokens have; `logit` puts both together for one query
vector and one key vector; `bias` is what a head adds. The tests compare the library
with these.

Sources are named per function by arXiv id or kexue.fm article. Angular frequencies are
in radians per token; scale is target length / training length.
"""

import inspect
import math

import numpy as np

ROPE_LIKE = frozenset({"rerope", "leaky_rerope", "self_extend", "dual_chunk"})
ROPE_ITSELF = frozenset({"xpos", "randomized"})  # as far as frequencies go
UNROTATED = frozenset({"nope", "alibi", "kerple_log", "kerple_power", "t5", "fire"})


# Frequencies: each returns (angular frequencies in float64, factor on the logits).


def rope(head_dim, base):
    """2104.09864: theta_i = base^(-2i/d)."""
    return np.array([base ** (-2.0 * i / head_dim) for i in range(head_dim // 2)]), 1.0


def interpolated(head_dim, base, scale):
    """2306.15595: every frequency divided by the scale."""
    return rope(head_dim, base)[0] / scale, 1.0


def ntk_aware(head_dim, base, scale):
    """Base chosen so that the slowest plane is exactly interpolated."""
    return rope(head_dim, base * scale ** (head_dim / (head_dim - 2)))


def ntk_old(head_dim, base, scale):
    """kexue.fm 9675: the base itself multiplied by the scale."""
    return rope(head_dim, base * scale)


def ntk_fixed(head_dim, base, scale):
    """kexue.fm 9706: beta^-(m-1) lambda^-m for m = 1..d/2."""
    beta = base ** (2.0 / head_dim)
    slower = scale ** (2.0 / head_dim)
    numbers = range(1, head_dim // 2 + 1)
    return np.array([beta ** -(m - 1.0) * slower ** -float(m) for m in numbers]), 1.0


def ntk_mixed(head_dim, base, scale, exponent=0.625):
    """kexue.fm 9706: beta^-(m-1) exp(-a m^b), a fixed by a (d/2)^b = ln scale."""
    beta = base ** (2.0 / head_dim)
    a = math.log(scale) / (head_dim / 2) ** exponent
    numbers = range(1, head_dim // 2 + 1)
    slow = [beta ** -(m - 1.0) * math.exp(-a * m**exponent) for m in numbers]
    return np.array(slow), 1.0


def dynamic_ntk_base(head_dim, base, train_length, length, scale=1.0):
    """The base that transformers' dynamic scaling uses at one length."""
    growth = max(1.0, scale * length / train_length - (scale - 1.0))
    return base * growth ** (head_dim / (head_dim - 2))


def dynamic_ntk(head_dim, base, train_length, length, scale=1.0):
    """NTK-aware with the scale taken from the length."""
    return rope(head_dim, dynamic_ntk_base(head_dim, base, train_length, length, scale))


def _ramp_by_index(head_dim, base, train_length, fast, slow, truncate):
    """Share of interpolation per plane, linear in the plane's index (released code)."""

    def plane_of(rotations):
        wavelength = train_length / rotations
        return head_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(base))

    low, high = plane_of(fast), plane_of(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = (min(max(edge, 0), head_dim - 1) for edge in (low, high))
    if low == high:
        high += 0.001
    return [min(max((i - low) / (high - low), 0), 1) for i in range(head_dim // 2)]


def _ramp_by_rotations(theta, train_length, fast, slow):
    """Share of interpolation per plane, linear in its rotations (the paper)."""
    rotations = train_length * theta / (2 * math.pi)
    return [1 - min(max((r - slow) / (fast - slow), 0), 1) for r in rotations]


def yarn(
    head_dim,
    base,
    scale,
    train_length,
    beta_fast=32.0,
    beta_slow=1.0,
    truncate=True,
    ramp="index",
    logit_scale=None,
):
    """2309.00071: fast planes kept, slow planes interpolated, logits times mscale^2."""
    theta, _ = rope(head_dim, base)
    if ramp == "index":
        edges = beta_fast, beta_slow
        share = _ramp_by_index(head_dim, base, train_length, *edges, truncate)
    else:
        share = _ramp_by_rotations(theta, train_length, beta_fast, beta_slow)
    mscale = 0.1 * math.log(scale) + 1 if scale > 1 else 1.0
    factor = mscale**2 if logit_scale is None else logit_scale
    pairs = zip(theta, share, strict=True)
    return np.array([t * ((1 - part) + part / scale) for t, part in pairs]), factor


def llama3(
    head_dim, base, scale, train_length, low_freq_factor=1.0, high_freq_factor=4.0
):
    """Llama 3.1: three ranges of wavelength, linear in rotations between them."""

    def scaled(theta):
        wavelength = 2 * math.pi / theta
        if wavelength < train_length / high_freq_factor:
            return theta
        if wavelength > train_length / low_freq_factor:
            return theta / scale
        keep = train_length / wavelength - low_freq_factor
        keep /= high_freq_factor - low_freq_factor
        return ((1 - keep) / scale + keep) * theta

    return np.array([scaled(theta) for theta in rope(head_dim, base)[0]]), 1.0


def longrope(
    head_dim,
    base,
    short_factors,
    long_factors,
    scale,
    train_length,
    length,
    logit_scale=None,
):
    """2402.13753 as in transformers: one list of divisors, chosen by the length."""
    divisors = long_factors if length > train_length else short_factors
    attention = math.sqrt(1 + math.log(scale) / math.log(train_length))
    factor = attention**2 if scale > 1 else 1.0
    factor = factor if logit_scale is None else logit_scale
    return rope(head_dim, base)[0] / np.array(divisors, dtype=np.float64), factor


def partial(head_dim, base, fraction):
    """GPT-NeoX: the grid of a smaller head, for its dimensions only."""
    return rope(int(head_dim * fraction), base)


def p_rope(head_dim, base, fraction=None, train_length=None):
    """2410.06205 (fraction) and 2410.21216 (train_length): slow planes do not turn."""
    theta, _ = rope(head_dim, base)
    if fraction is not None:
        turning = np.arange(len(theta)) < math.floor(fraction * len(theta))
    else:
        turning = 2 * math.pi / theta <= train_length
    return np.where(turning, theta, 0.0), 1.0


def nope(head_dim, base):
    """No rotation at all; encodings that only add a bias too."""
    return np.zeros(head_dim // 2), 1.0


def resonance(theta):
    """2403.00071, algorithm 1: the nearest whole wavelength, at least one token."""
    whole = [t and 2 * math.pi / max(1, round(2 * math.pi / t)) for t in theta]
    return np.array(whole)


_METHODS = (rope, interpolated, ntk_aware, ntk_old, ntk_fixed, ntk_mixed, dynamic_ntk)
_METHODS += (yarn, llama3, longrope, partial, p_rope, nope)
FREQUENCIES = {method.__name__: method for method in _METHODS}


def frequencies(name, head_dim, base=10_000.0, **options):
    """(angular, logit factor) of an encoding; options it does not know are ignored."""
    method = "rope" if name in ROPE_LIKE | ROPE_ITSELF else name
    method = "nope" if name in UNROTATED else method
    function = FREQUENCIES[method]
    known = inspect.signature(function).parameters
    used = {key: value for key, value in options.items() if key in known}
    theta, factor = function(head_dim, base, **used)
    return (resonance(theta) if options.get("resonance") else theta), factor


# Positions.


def relative_position(name, i, j, **options):
    """Distance in tokens of the original scale; NaN where key j is hidden from i."""
    if j > i or not _inside_window(i, j, options):
        return math.nan
    if name in UNROTATED:
        raise ValueError(f"{name} has no relative position")
    if name == "interpolated":
        return (i - j) / options["scale"]
    return _unscaled_relative_position(name, i, j, options)


def _unscaled_relative_position(name, i, j, options):
    """What multiplies the frequencies."""
    if name == "dual_chunk":
        return _dual_chunk(i, j, options["chunk_length"], options["local_window"])
    distance, window = i - j, options.get("window")
    if name not in ROPE_LIKE or distance < window:
        return distance
    if name == "rerope":
        return window
    if name == "leaky_rerope":
        return window + (distance - window) / options["step"]
    group = options["group"]
    return (i // group + window - window // group) - j // group


def _dual_chunk(i, j, chunk_length, local_window):
    """2402.17463: keys at their place in their chunk, queries by how far that is."""
    farthest = chunk_length + local_window
    chunks_between = i // chunk_length - j // chunk_length
    if chunks_between == 0:
        query = i % chunk_length
    elif chunks_between == 1:
        query = min(i % chunk_length + chunk_length, farthest)
    else:
        query = farthest
    return query - j % chunk_length


def _inside_window(i, j, options):
    width = options.get("sliding_window")
    return width is None or i - j < width


# Biases: added to the logit, whatever multiplies the rest of it.


def alibi_slope(head, num_heads):
    """2108.12409: 2^(-8h/H) for h = 1..H; else two such rows, one of them thinned."""
    power = 1
    while 2 * power <= num_heads:
        power *= 2
    if head < power:
        return 2.0 ** (-8 * (head + 1) / power)
    every_second = 2 * (head - power) + 1
    return 2.0 ** (-8 * every_second / (2 * power))


def kerple_log(head, distance, a_H, p_H):
    """2205.09921: -p ln(1 + a d), both numbers at least 0.01."""
    a, p = max(float(a_H[head]), 0.01), max(float(p_H[head]), 0.01)
    return -p * math.log(1 + a * distance)


def kerple_power(head, distance, a_H, p_H):
    """2205.09921: -a d^p with 0.01 <= p <= 2."""
    a, p = max(float(a_H[head]), 0.01), min(max(float(p_H[head]), 0.01), 2.0)
    return -a * distance**p


def t5_bucket(distance, num_buckets=32, max_distance=128):
    """1910.10683: half the buckets hold a distance each, the others grow by a ratio."""
    exact = num_buckets // 2
    if distance < exact:
        return distance
    steps = math.log(distance / exact) / math.log(max_distance / exact)
    return min(num_buckets - 1, exact + math.floor(steps * (num_buckets - exact)))


def fire(head, i, j, weights, threshold=512):
    """2310.04418: a network of log distance over log of the query's place.

    Up to a constant of the head.
    """

    def psi(x):
        return math.log(abs(float(weights["c"]) * x) + 1)

    longest = max(abs(float(weights["multiplier"]) * threshold), i)
    x = psi(i - j) / (psi(longest) + 1e-6)
    units = zip(weights["hidden_kernel_U"], weights["hidden_bias_U"], strict=True)
    hidden = [max(0.0, float(w) * x + float(b)) for w, b in units]
    column = (float(row[head]) for row in weights["out_kernel_UH"])
    return sum(h * w for h, w in zip(hidden, column, strict=True))


def bias(name, head, heads, i, j, learned=None, **options):
    """Of head 0..heads-1, for a query at i and a key at j; 0 for most encodings.

    learned: arrays by name, for encodings that learn theirs.
    """
    if name == "alibi":
        return -alibi_slope(head, heads) * (i - j)
    if name in ("kerple_log", "kerple_power"):
        kernel = kerple_log if name == "kerple_log" else kerple_power
        return kernel(head, i - j, learned["a_H"], learned["p_H"])
    if name == "t5":
        keys = ("num_buckets", "max_distance")
        sizes = {key: options[key] for key in keys if key in options}
        return float(learned["table_NH"][t5_bucket(i - j, **sizes)][head])
    if name == "fire":
        return fire(head, i, j, learned, options.get("threshold", 512))
    return 0.0


def xpos_amplitudes(head_dim, distance, scale_base=512):
    """2212.10554: zeta^(distance / scale_base) of each plane."""
    planes = np.arange(head_dim // 2)
    return ((2 * planes / head_dim + 0.4) / 1.4) ** (distance / scale_base)


# Logits and attention.


def rotary_score(q, k, angles, layout="half", amplitudes=1.0):
    """Dot product of q and k after q has been turned by `angles` more than k.

    amplitudes: of each plane's part.
    """
    planes = len(angles)
    if layout == "half":
        first, second = np.arange(planes), np.arange(planes) + planes
    else:
        first, second = 2 * np.arange(planes), 2 * np.arange(planes) + 1
    along = q[first] * k[first] + q[second] * k[second]
    across = q[first] * k[second] - q[second] * k[first]
    turned = amplitudes * (along * np.cos(angles) + across * np.sin(angles))
    return np.sum(turned) + np.dot(q[2 * planes :], k[2 * planes :])


def log_n_factor(i, log_n="off", log_n_minimum=1, train_length=None):
    """kexue.fm 8823 and 9708: log of the visible keys over log of the train length."""
    if log_n == "off":
        return 1.0
    factor = math.log(max(i + 1, log_n_minimum)) / math.log(train_length)
    return max(1.0, factor) if log_n == "test" else factor


def logit(name, q, k, i, j, *, base=10_000.0, layout="half", **options):
    """Logit of query vector q at position i and key vector k at position j."""
    if not _inside_window(i, j, options):
        return -math.inf
    theta, factor = frequencies(name, len(q), base, **options)
    relative = _unscaled_relative_position(name, i, j, options)
    softmax_scale = options.get("softmax_scale") or 1 / math.sqrt(len(q))
    keys = ("log_n", "log_n_minimum", "train_length")
    log_n = log_n_factor(i, **{key: options[key] for key in keys if key in options})
    amplitudes = 1.0
    if name == "xpos":
        amplitudes = xpos_amplitudes(len(q), i - j, options.get("scale_base", 512))
    score = rotary_score(q, k, relative * theta, layout, amplitudes)
    return softmax_scale * factor * log_n * score


def logits(name, q_BTHD, k_BSKD, q_pos_BT, k_pos_BS, learned=None, **options):
    """[B, H, T, S] of `logit` and `bias`; -inf for keys that are in the future."""
    q_BTHD, k_BSKD = (np.asarray(x, np.float64) for x in (q_BTHD, k_BSKD))
    (B, T, H, _), (_, S, K, _) = q_BTHD.shape, k_BSKD.shape
    out = np.full((B, H, T, S), -np.inf)
    for b, h, t, s in np.ndindex(out.shape):
        i, j = int(q_pos_BT[b][t]), int(k_pos_BS[b][s])
        if j <= i:
            key = k_BSKD[b, s, h // (H // K)]
            score = logit(name, q_BTHD[b, t, h], key, i, j, **options)
            out[b, h, t, s] = score + bias(name, h, H, i, j, learned, **options)
    return out


def attention(logits_BHTS, v_BSKC, q_segments_BT=None, k_segments_BS=None):
    """[B, T, H, C]: softmax over keys of the same segment; 0 where there is none."""
    v_BSKC = np.asarray(v_BSKC, np.float64)
    (B, H, T, _), (_, _, K, C) = logits_BHTS.shape, v_BSKC.shape
    out = np.zeros((B, T, H, C))
    for b, t, h in np.ndindex(B, T, H):
        row = logits_BHTS[b, h, t].copy()
        if q_segments_BT is not None:
            query = q_segments_BT[b][t]
            other = (np.asarray(k_segments_BS[b]) != query) | (query == 0)
            row[other] = -np.inf
        if np.any(row > -np.inf):
            weights = np.exp(row - row.max())
            out[b, t, h] = weights @ v_BSKC[b, :, h // (H // K)] / weights.sum()
    return out


def turn_difference(a, b):
    """Distance between two angles on the circle, in radians, elementwise in float64."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.abs((difference + math.pi) % (2 * math.pi) - math.pi)
