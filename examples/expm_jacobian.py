"""The derivative of the matrix exponential as a matrix, d vec(exp(A)) / d vec(A), three ways side by side.

Frechet derivatives along every entry, the formula of Najfeld and Havel, and for symmetric matrices the eigenvalues.

    python examples/expm_jacobian.py
"""

import numpy as np

import matkern as mk

N = 4
TOLERANCE = 1e-12  # relative: n^2 eps and the conditions of the matrices below, about 10, with room


def symmetric_part(jacobian):
    """The derivative along the symmetric part of a change: of two mirrored entries, each counts half."""
    n = int(np.sqrt(len(jacobian)))
    mirrored = np.arange(n * n).reshape(n, n).T.ravel()
    return (jacobian + jacobian[:, mirrored]) / 2


def by_eigenvalues(a):
    """Of a symmetric matrix, in columns as vec stacks them."""
    n = len(a)
    return mk.jacobian("expm", a, assume_a="her").transpose(1, 0, 3, 2).reshape(n * n, n * n)


def ways(a):
    """Name -> Jacobian."""
    found = {
        "Frechet derivatives": mk.expm_jacobian(a),
        "Najfeld-Havel": mk.expm_jacobian(a, method="najfeld-havel"),
    }
    if (a == a.T).all():
        found = {name: symmetric_part(jacobian) for name, jacobian in found.items()}
        found["eigenvalues"] = by_eigenvalues(a)
    return found


def compare(title, a):
    """Print the largest differences, relative to the largest entry, and return whether all are rounding."""
    found = ways(a)
    scale = np.abs(found["Frechet derivatives"]).max()
    print(f"{title}: {len(a)} x {len(a)}, the Jacobian {len(a) ** 2} x {len(a) ** 2}")
    print(f"  {'difference between':<22}" + "".join(f"{name:>22}" for name in found))
    agree = True
    for name, jacobian in found.items():
        differences = [np.abs(jacobian - other).max() / scale for other in found.values()]
        agree = agree and max(differences) <= TOLERANCE
        print(f"  {name:<22}" + "".join(f"{difference:>22.1e}" for difference in differences))
    print(f"  {'they agree' if agree else 'THEY DIFFER'} to {TOLERANCE:.0e}\n")
    return agree


def main():
    rng = np.random.default_rng(0)
    general = rng.standard_normal((N, N))
    symmetric = (general + general.T) / 2
    repeated = np.eye(N) + np.ones((N, N))  # eigenvalues 1, three times, and 5
    cases = {"a general matrix": general, "a symmetric matrix": symmetric, "with repeated eigenvalues": repeated}
    agreements = [compare(title, a) for title, a in cases.items()]
    return all(agreements)


if __name__ == "__main__":
    raise SystemExit(not main())
