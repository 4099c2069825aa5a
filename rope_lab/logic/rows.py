"""The rows of the catalogue: every encoding, once.

Functions of one band are in `scalings`, those of several in `piecewise`, those of a
bias in `biases`, `kerple`, `t5` and `fire`. `Entry` says what the letters mean.
"""

from __future__ import annotations

from rope_lab import rotary
from rope_lab.logic import biases, fire, kerple, piecewise, scalings, t5
from rope_lab.logic.entry import Entry

TUNED, BORN = "fine-tuning helps", "from the start"
AS_ROPE = "that of RoPE"
EDGE = "that of RoPE, and a second product in tiles that the window's edge cuts"
IN_XLA = "a number for each pair and head; in tiles of XLA, not in kernels"

CATALOGUE: dict[str, Entry] = {
    "rope": Entry(
        scalings.rope,
        "RoPE: rotates by the position",
        formula="angle = (i - j) theta_k",
        tex=r"(i - j)\,\theta_k",
        cost="the measure of the others",
        source="arXiv 2104.09864",
    ),
    "interpolated": Entry(
        scalings.interpolated,
        "position interpolation, PI: divides positions by the scale",
        TUNED,
        formula="theta_k / s",
        tex=r"\theta_k' = \theta_k / s",
        cost=AS_ROPE,
        source="arXiv 2306.15595",
    ),
    "ntk_aware": Entry(
        scalings.scaled(rotary.ntk_aware),
        "NTK-aware: a larger base, the slowest plane interpolated",
        formula="theta_k of base * s**(D/(D-2))",
        tex=r"\theta_k' = \left(b\, s^{D/(D-2)}\right)^{-2k/D}",
        cost=AS_ROPE,
        source="kexue.fm 9675",
    ),
    "ntk_old": Entry(
        scalings.scaled(rotary.ntk_old),
        "NTK-RoPE-old: base times the scale",
        formula="theta_k of base * s",
        tex=r"\theta_k' = (b\, s)^{-2k/D}",
        cost=AS_ROPE,
        source="kexue.fm 9675",
    ),
    "ntk_fixed": Entry(
        scalings.scaled(rotary.ntk_fixed),
        "NTK-RoPE-fixed: the mixed-radix reading of NTK",
        formula="theta_k * s**(-2(k+1)/D)",
        tex=r"\theta_k' = \theta_k\, s^{-2(k+1)/D}",
        cost=AS_ROPE,
        source="kexue.fm 9706",
    ),
    "ntk_mixed": Entry(
        scalings.ntk_mixed,
        "NTK-RoPE-mixed: a radix that changes from digit to digit",
        formula="theta_k * exp(-a (k+1)**e), a (D/2)**e = ln s",
        tex=r"\theta_k' = \theta_k\, e^{-a (k+1)^{\epsilon}}, \quad "
        r"a\,(D/2)^{\epsilon} = \ln s",
        cost=AS_ROPE,
        source="kexue.fm 9706",
    ),
    "dynamic_ntk": Entry(
        scalings.dynamic_ntk,
        "NTK-aware for one total length",
        formula="theta_k of base * max(1, s N/L - (s - 1))**(D/(D-2))",
        tex=r"\theta_k' = \left(b\, \max(1, s N/L - (s-1))^{D/(D-2)}\right)^{-2k/D}",
        cost=AS_ROPE,
        source="transformers",
    ),
    "yarn": Entry(
        scalings.yarn,
        "YaRN: interpolates slow planes, keeps fast ones, sharpens logits",
        TUNED,
        formula="theta_k (g_k + (1 - g_k) / s), logits times (0.1 ln s + 1)**2",
        tex=r"\theta_k' = \theta_k \left(\gamma_k + (1 - \gamma_k) / s\right), \quad "
        r"\tau' = (0.1 \ln s + 1)^2\, \tau",
        cost=AS_ROPE,
        source="arXiv 2309.00071",
    ),
    "llama3": Entry(
        scalings.llama3,
        "Llama 3.1: a ramp between kept and interpolated planes",
        TUNED,
        formula="theta_k (g_k + (1 - g_k) / s), g_k linear in the turns within L",
        tex=r"\theta_k' = \theta_k \left(\gamma_k + (1 - \gamma_k) / s\right), \quad "
        r"\gamma_k \text{ linear in } L\,\theta_k / 2\pi",
        cost=AS_ROPE,
        source="arXiv 2407.21783",
    ),
    "longrope": Entry(
        scalings.longrope,
        "LongRoPE: one searched factor for each plane",
        TUNED,
        formula="theta_k / f_k, f the short list if N <= L, else the long one",
        tex=r"\theta_k' = \theta_k / f_k, \quad f = \text{short if } N \leq L, "
        r"\text{ else long}",
        cost=AS_ROPE,
        source="arXiv 2402.13753",
    ),
    "partial": Entry(
        scalings.partial,
        "partial rotary: rotates the first dimensions only",
        BORN,
        formula="base**(-2k/R) on the first R = fraction * D dimensions",
        tex=r"\theta_k' = b^{-2k/R}, \quad R = \text{fraction} \cdot D",
        cost=AS_ROPE,
        source="GPT-J, GPT-NeoX",
    ),
    "p_rope": Entry(
        scalings.p_rope,
        "p-RoPE and HoPE: stops the slow planes",
        BORN,
        formula="theta_k for the fastest planes, 0 for the others",
        tex=r"\theta_k' = \theta_k \text{ if } k < \lfloor pD/2 \rfloor, "
        r"\text{ else } 0",
        cost=AS_ROPE,
        source="arXiv 2410.06205, arXiv 2410.21216",
    ),
    "rerope": Entry(
        piecewise.rerope,
        "ReRoPE: beyond the window, every key is a window away",
        formula="distance = min(i - j, window)",
        tex=r"\min(i - j,\, w)",
        cost=EDGE,
        source="kexue.fm 9708",
    ),
    "leaky_rerope": Entry(
        piecewise.leaky_rerope,
        "Leaky ReRoPE: beyond the window, distance grows by 1/step",
        formula="i - j < window: i - j; else window + (i - j - window) / step",
        tex=r"i - j \;\text{ if } i - j < w, \quad "
        r"\text{else } w + (i - j - w) / \text{step}",
        cost=EDGE,
        source="kexue.fm 9708",
    ),
    "self_extend": Entry(
        piecewise.self_extend,
        "Self-Extend: beyond the window, neighbours share a position",
        formula="i - j < window: i - j; else i//G - j//G + window - window//G",
        tex=r"i - j \;\text{ if } i - j < w, \quad \text{else } "
        r"\lfloor i/G \rfloor - \lfloor j/G \rfloor + w - \lfloor w/G \rfloor",
        cost=EDGE,
        source="arXiv 2401.01325",
    ),
    "dual_chunk": Entry(
        piecewise.dual_chunk,
        "dual chunk: keys stand where they do in their chunk; queries at most a chunk "
        "and a local window further",
        formula="key j % c; query i % c, min(i % c + c, c + w), c + w by chunks apart",
        tex=r"j \bmod c \;\text{ against }\; i \bmod c,\; "
        r"\min(i \bmod c + c,\, c + w),\; c + w",
        cost="that of RoPE, and up to two more products in tiles that chunks cut",
        source="arXiv 2402.17463",
    ),
    "nope": Entry(
        scalings.nope,
        "NoPE: rotates nothing; order comes from the causal mask",
        BORN,
        rotates=False,
        formula="angle = 0",
        tex=r"0",
        cost="that of RoPE without the rotation",
        source="arXiv 2305.19466",
    ),
    "alibi": Entry(
        biases.alibi,
        "ALiBi: rotates nothing; each token of distance costs a head's slope",
        BORN,
        rotates=False,
        formula="bias = -m_h (i - j), m_h = 2**(-8h/H)",
        tex=r"-m_h\,(i - j), \quad m_h = 2^{-8h/H}",
        cost="an addition for each pair; in the kernels too",
        source="arXiv 2108.12409",
    ),
    "kerple_log": Entry(
        kerple.kerple_log,
        "KERPLE: rotates nothing; a learned logarithm of the distance for each head",
        BORN,
        rotates=False,
        formula="bias = -p_h ln(1 + a_h (i - j))",
        tex=r"-p_h \ln(1 + a_h\,(i - j))",
        cost=IN_XLA,
        source="arXiv 2205.09921",
    ),
    "kerple_power": Entry(
        kerple.kerple_power,
        "KERPLE: rotates nothing; a learned power of the distance for each head",
        BORN,
        rotates=False,
        formula="bias = -a_h (i - j)**p_h, 0 < p_h <= 2",
        tex=r"-a_h\,(i - j)^{p_h}, \quad 0 < p_h \leq 2",
        cost=IN_XLA,
        source="arXiv 2205.09921",
    ),
    "t5": Entry(
        t5.t5,
        "T5: rotates nothing; a learned number for each bucket of distances, shared by "
        "the layers",
        BORN,
        rotates=False,
        formula="bias = table[bucket(i - j), h]",
        tex=r"t_{\text{bucket}(i - j),\, h}",
        cost=IN_XLA,
        source="arXiv 1910.10683",
    ),
    "fire": Entry(
        fire.fire,
        "FIRE: rotates nothing; a small network of the distance over the query's "
        "position",
        BORN,
        rotates=False,
        formula="bias = f_h(g(i - j) / g(max(i, threshold))), g(x) = ln(|c x| + 1)",
        tex=r"f_h\left(\frac{\psi(i - j)}{\psi(\max(i, T))}\right), \quad "
        r"\psi(x) = \ln(\left|c x\right| + 1)",
        cost="a small network for each pair; in tiles of XLA, not in kernels",
        source="arXiv 2310.04418",
    ),
    "xpos": Entry(
        scalings.xpos,
        "xPos: rotates, and far keys fade, in fast planes first",
        BORN,
        formula="RoPE, plane k times z_k**((i - j) / scale_base)",
        tex=r"\zeta_k^{(i - j) / S} \cos((i - j)\,\theta_k)",
        cost="in tiles of XLA, not in kernels; a cache keeps every key",
        source="arXiv 2212.10554",
    ),
    "randomized": Entry(
        scalings.randomized,
        "randomized: RoPE at positions drawn from a long range, in order",
        BORN,
        formula="RoPE at N sorted positions out of 0 .. draw_from - 1",
        tex=r"(p_i - p_j)\,\theta_k, \quad p_0 < p_1 < \ldots < M",
        cost="that of RoPE, and a draw for each sequence",
        source="arXiv 2305.16843",
    ),
}
