"""Equations that dysts keeps in methods, as functions of numbers that numba compiles.

Each function is ``f(*state, t, *parameters) -> flow``, with the parameters in the sorted order of
their names (as dysts passes them to its own compiled equations), arrays flattened. The equations
are those of dysts 0.96 (Gilpin 2021, Apache-2.0); tests hold them equal. Systems whose state or
parameters are arrays have ``f(t, state, parameters, out)`` in :data:`ARRAYS`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, cosh, exp, pi, sin, sinh, tanh
from typing import Any

from tsfm.data.kernel_cache import njit

_inline = njit(error_model="numpy", forceinline=True)


def ca_two_plus(  # type: ignore[no-untyped-def]
    z, y, a, _t, K2, K5, Ka, Kd, Ky, Kz, V0, V1, V4, Vm2, Vm3, Vm5, beta, eps, k, kf, m, n, p
):
    released = Vm3 * z**m / (Kz**m + z**m) * (y**2 / (Ky**2 + y**2)) * (a**4 / (Ka**4 + a**4))
    pumped = Vm2 * z**2 / (K2**2 + z**2)
    metabolised = Vm5 * (a**p / (K5**p + a**p) * (z**n / (Kd**n + z**n)))
    return (
        V0 + V1 * beta - pumped + released + kf * y - k * z,
        pumped - released - kf * y,
        beta * V4 - metabolised - eps * a,
    )


@_inline
def _cell(c, m, x, other_m, K, Kc, Kd1, Kim, V2, V4, Vm1, Vm3, kd1, vd, vi):  # type: ignore[no-untyped-def]
    kinase, protease = Vm1 * c / (Kc + c), m * Vm3
    return (
        vi * Kim / (Kim + other_m) - vd * x * c / (Kd1 + c) - kd1 * c,
        kinase * (1 - m) / (K + (1 - m)) - V2 * m / (K + m),
        protease * (1 - x) / (K + (1 - x)) - V4 * x / (K + x),
    )


def cell_cycle(  # type: ignore[no-untyped-def]
    c1, m1, x1, c2, m2, x2, _t, K, Kc, Kd1, Kim, V2, V4, Vm1, Vm3, kd1, vd, vi
):
    first = _cell(c1, m1, x1, m2, K, Kc, Kd1, Kim, V2, V4, Vm1, Vm3, kd1, vd, vi)
    second = _cell(c2, m2, x2, m1, K, Kc, Kd1, Kim, V2, V4, Vm1, Vm3, kd1, vd, vi)
    return first[0], first[1], first[2], second[0], second[1], second[2]


def circadian_rhythm(  # type: ignore[no-untyped-def]
    m, fc, fs, fn, th, _t, Ki, k, k1, k2, kd, kdn, km, ks, n, ps, vc, vd, vdn, vm, vmax, vmin
):
    light = vc * ((0.5 + 0.5 * cos(th)) + vmin) * (vmax - vmin)
    return (
        light * Ki**n / (Ki**n + fn**n) - vm * m / (km + m),
        ks * m - k1 * fc + k2 * fn - k * fc,
        k * fc - vd * fs / (kd + fs),
        k1 * fc - k2 * fn - vdn * fn / (kdn + fn),
        2 * pi / ps,
    )


def anishchenko_astakhov(x, y, z, _t, eta, mu):  # type: ignore[no-untyped-def]
    return mu * x + y - x * z, -x, -eta * z + eta * (x**2 if x > 0.0 else 0.0)


def colpitts(x, y, z, _t, a, b, c, d, e):  # type: ignore[no-untyped-def]
    u = z - (e - 1)
    return y - a * (-u if u <= 0.0 else 0.0), c - x - b * y - z, y - d * z


def fluid_trampoline(x, y, th, _t, gamma, psi, w):  # type: ignore[no-untyped-def]
    contact = x + psi * y * abs(y) if x < 0.0 else 0.0
    return y, -1 - contact + gamma * cos(th), w


def cellular_neural_network(x, y, z, _t, a, b, c, d):  # type: ignore[no-untyped-def]
    fx = 0.5 * (abs(x + 1) - abs(x - 1))
    fy = 0.5 * (abs(y + 1) - abs(y - 1))
    fz = 0.5 * (abs(z + 1) - abs(z - 1))
    return (
        -x + d * fx - b * fy - b * fz,
        -y - b * fx + c * fy - a * fz,
        -z - b * fx + a * fy + fz,
    )


def excitable_cell(  # type: ignore[no-untyped-def]
    v, n, c, _t, aho, ahr, ahs, ams, amvb, amvo, ans, anvb, anvo, ar, bho, bhr, bmo, bmr, bms, bno,
    bnr, bns, gi, gkc, gkv, gl, kc, rho, tscl, vc, vi, vk, vl, _vm, _vn,
):  # fmt: skip
    rate = exp(-ar * v)
    alpha_m = ams * (amvb + v) / (1 - rate * exp(-amvo))
    m = alpha_m / (alpha_m + bms * exp(-bmr * v - bmo))
    alpha_h = ahs * exp(-ahr * v - aho)
    h = alpha_h / (alpha_h + 1 / (1 + exp(-bhr * v - bho)))
    alpha_n = ans * (anvb + v) / (1 - rate * exp(-anvo))
    beta_n = bns * exp(-bnr * v - bno)
    open_channels = m**3 * h
    return (
        gi * open_channels * (vi - v)
        + gkv * n**4 * (vk - v)
        + gkc * (c / (1 + c)) * (vk - v)
        + gl * (vl - v),
        (alpha_n / (alpha_n + beta_n) - n) * (tscl * (alpha_n + beta_n)),
        rho * (open_channels * (vc - v) - kc * c),
    )


@_inline
def _switch(t, tau):  # type: ignore[no-untyped-def]
    """The smooth square wave by which mixing flows alternate."""
    return 0.5 + 0.5 * tanh(tau * 20 * sin(2 * pi * t / tau))


@_inline
def _rotlet(r, cosine, sine, a, b, bc):  # type: ignore[no-untyped-def]
    kappa = a**2 + (b**2 * r**2) / a**2 - 2 * b * r * cosine
    gamma = (1 - r**2 / a**2) * (a**2 - (b**2 * r**2) / a**2)
    iota = (b**2 * r) / a**2 - b * cosine
    zeta = b**2 + r**2 - 2 * b * r * cosine
    nu = a**2 + b**2 - (2 * b**2 * r**2) / a**2
    radial = b * sine * (-bc * (gamma / kappa**2) - 1 / kappa + 1 / zeta)
    angular = (
        bc * (gamma * iota) / kappa**2
        + bc * r * nu / (a**2 * kappa)
        + iota / kappa
        - (r - b * cosine) / zeta
    )
    return radial, angular


def blinking_rotlet(r, theta, tt, _t, a, b, bc, sigma, tau):  # type: ignore[no-untyped-def]
    weight, cosine, sine = _switch(tt, tau), cos(theta), sin(theta)
    radial, angular = _rotlet(r, cosine, sine, a, b, bc)
    radial_2, angular_2 = _rotlet(r, cosine, sine, a, -b, bc)
    radial = weight * radial + (1 - weight) * radial_2
    angular = (weight * angular + (1 - weight) * angular_2) / r
    return sigma * radial, sigma * angular, 1.0


@_inline
def _lid_mode(x, y, a, b, order):  # type: ignore[no-untyped-def]
    """One mode of the driven cavity, for unit velocity of its lid."""
    wave = order * pi
    factor = 1 / (2 * order * b * pi + a * sinh(2 * wave * b / a))
    width, height = wave * b / a, wave * y / a
    sinh_b, cosh_b, sinh_y, cosh_y = sinh(width), cosh(width), sinh(height), cosh(height)
    along = -order * b * pi * sinh_b * sinh_y + cosh_b * (wave * y * cosh_y + a * sinh_y)
    across = b * sinh_b * cosh_y - cosh_b * y * sinh_y
    return 2 * factor * sin(wave * x / a) * along, 2 * wave * factor * cos(wave * x / a) * across


def lid_driven_cavity_flow(x, y, tt, _t, a, b, tau, u1, u2):  # type: ignore[no-untyped-def]
    weight = _switch(tt, tau)
    along_1, across_1 = _lid_mode(x, y, a, b, 1.0)
    along_2, across_2 = _lid_mode(x, y, a, b, 2.0)
    first = u1 * (2 * weight - 1)
    return first * along_1 + u2 * along_2, first * across_1 + u2 * across_2, 1.0


def interior_squirmer(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """Parameters: ``a [5], g [5], tau``."""
    r, theta = state[0], state[1]
    phase = _switch(state[2], parameters[10])
    radial = angular = 0.0
    power = 1.0
    for mode in range(1, 6):
        power *= r
        a, g = parameters[mode - 1] * phase, parameters[mode + 4] * (1 - phase)
        sine, cosine = sin(theta * mode), cos(theta * mode)
        radial += (g * cosine + a * sine) * mode * power * (r**2 - 1) / r
        angular += (2 * r + (r**2 - 1) * mode / r) * (a * cosine - g * sine) * power
    out[0], out[1], out[2] = radial, angular / r, 1.0


def bickley_jet(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """State ``y, x, z``; parameters: ``ell, eps [3], k [3], omega, sigma [3], u``."""
    y, x, z = state[0], state[1], state[2]
    ell, omega, u = parameters[0], parameters[7], parameters[11]
    along = across = 0.0
    for wave in range(3):
        eps, k = parameters[1 + wave], parameters[4 + wave]
        phase = k * (x - z * parameters[8 + wave])
        along += eps * cos(phase)
        across += eps * k * sin(phase)
    sech = 1 / cosh(y / ell) ** 2
    out[0] = ell * u * sech * across
    out[1] = u * sech * (-1 - 2 * along * tanh(y / ell))
    out[2] = omega


def multi_chua(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """Parameters: ``a, b, c [6], m [6]``."""
    x, y, z = state[0], state[1], state[2]
    diode = parameters[13] * x
    for piece in range(1, 6):
        corner = parameters[2 + piece]
        slope = parameters[7 + piece] - parameters[8 + piece]
        diode += 0.5 * slope * (abs(x + corner) - abs(x - corner))
    out[0], out[1], out[2] = parameters[0] * (y - diode), x - y + z, -parameters[1] * y


def beer_rnn(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """Parameters: ``tau [3], theta [3], w [3, 3]``."""
    for to in range(3):
        total = -state[to]
        for source in range(3):
            activity = 1.0 / (1.0 + exp(-state[source] - parameters[3 + source]))
            total += parameters[6 + 3 * to + source] * activity
        out[to] = total / parameters[to]


def hopfield(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """Parameters: ``beta, eps, k [6, 6], tau``."""
    for to in range(6):
        total = 0.0
        for source in range(6):
            total += parameters[2 + 6 * to + source] * state[source]
        activity = 0.5 * (1.0 + tanh(parameters[1] * total))
        out[to] = -state[to] / parameters[38] + activity - parameters[0]


def lorenz_96(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """Parameters: ``f``; any dimension from 4."""
    count = len(state)
    for i in range(count):
        ahead, behind, far = state[(i + 1) % count], state[i - 1], state[i - 2]
        out[i] = (ahead - far) * behind - state[i] + parameters[0]


def mac_arthur(_t, state, parameters, out):  # type: ignore[no-untyped-def]
    """Five species on five resources; ``c [5, 5], d, k [5, 5], m, r, s [5]``."""
    d, m, r = parameters[25], parameters[51], parameters[52]
    for resource in range(5):
        out[5 + resource] = d * (parameters[53 + resource] - state[5 + resource])
    for species in range(5):
        growth = 1e300
        for resource in range(5):
            amount = state[5 + resource]
            uptake = r * amount / (parameters[26 + 5 * resource + species] + amount)
            growth = min(growth, uptake)
        out[species] = state[species] * (growth - m)
        for resource in range(5):
            eaten = parameters[5 * resource + species] * growth * state[species]
            out[5 + resource] -= eaten


NUMBERS: dict[str, Callable[..., Any]] = {
    "AnishchenkoAstakhov": anishchenko_astakhov,
    "BlinkingRotlet": blinking_rotlet,
    "BlinkingVortex": blinking_rotlet,
    "CaTwoPlus": ca_two_plus,
    "CaTwoPlusQuasiperiodic": ca_two_plus,
    "CellCycle": cell_cycle,
    "CellularNeuralNetwork": cellular_neural_network,
    "CircadianRhythm": circadian_rhythm,
    "Colpitts": colpitts,
    "ExcitableCell": excitable_cell,
    "FluidTrampoline": fluid_trampoline,
    "LidDrivenCavityFlow": lid_driven_cavity_flow,
}

ARRAYS: dict[str, Callable[..., None]] = {
    "BeerRNN": beer_rnn,
    "BickleyJet": bickley_jet,
    "Hopfield": hopfield,
    "InteriorSquirmer": interior_squirmer,
    "Lorenz96": lorenz_96,
    "MacArthur": mac_arthur,
    "MultiChua": multi_chua,
}
