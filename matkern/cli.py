"""The console command `matkern`."""

import argparse
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from . import __version__, show_config

__all__ = ["main"]

DEMO_EXTRA = ("autograd", "matplotlib", "rich", "statsmodels")


def main(argv=None):
    """Run the console command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status: 0, or 1 if the demo found a wrong gradient, or 2 if a package that the demo needs is missing.

    Raises
    ------
    SystemExit
        From argparse: status 0 after ``--help`` and ``--version``, 2 for arguments that do not fit.

    Examples
    --------
    >>> from matkern.cli import main
    >>> main(["info"])                                   # doctest: +ELLIPSIS
    matkern: ...
    0
    """
    args = _parser().parse_args(argv)
    return args.command(args)


def _info(args):
    if args.json:
        print(json.dumps(show_config(mode="dicts"), indent=2))
    else:
        show_config()
    return 0


def _demo(args):
    missing = [package for package in DEMO_EXTRA if find_spec(package) is None]
    if missing:
        print(f"matkern demo lacks {', '.join(missing)}: pip install 'matkern[demo]'", file=sys.stderr)
        return 2
    from .demo import run  # noqa: PLC0415 - it needs the extra, and is slow to import

    result = run(months=args.months, forecast_years=args.forecast_years, iterations=args.iterations, output=args.output)
    return 0 if result.gradient_is_right else 1


def _integer(low, high=None):
    """An argparse type: an integer in a range."""
    wanted = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"

    def convert(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return convert


def _png(text):
    """An argparse type: where a PNG can be written, found out before the work rather than after it."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png, the format of the picture")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {str(path.parent)!r}: create it, or choose another")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: choose another place")
    return path


def _parser():
    parser = argparse.ArgumentParser(
        prog="matkern",
        description="Derivatives of linear algebra: batched, compiled VJP and JVP kernels.",
    )
    parser.add_argument("--version", action="version", version=f"matkern {__version__}")
    commands = parser.add_subparsers(title="commands", required=True)

    demo = commands.add_parser(
        "demo",
        help="fit a Gaussian process to the Mauna Loa CO2 record",
        description="Fit a Gaussian process with 11 hyperparameters to the monthly CO2 record of Mauna Loa, forecast "
        "its last years and compare with what was observed. Checks the gradient against finite differences, times it "
        "beside autograd's own, and draws a picture. No network is needed: the data come with statsmodels.",
        epilog="Needs the extra packages of: pip install 'matkern[demo]'. Exit status: 0; 1 if a gradient is wrong; 2 "
        "if it cannot run. For a quick look: matkern demo --months 120 --iterations 5",
    )
    demo.add_argument(
        "--months",
        type=_integer(24),
        metavar="N",
        help="fit to the last N months before the forecast, at least 24 (default: all since March 1958)",
    )
    demo.add_argument(
        "--forecast-years",
        type=_integer(1, 40),
        default=10,
        metavar="N",
        help="hold out the record's last N years, 1 to 40, and forecast them (default: %(default)s)",
    )
    demo.add_argument(
        "--iterations",
        type=_integer(1),
        default=200,
        metavar="N",
        help="at most N iterations of the optimiser (default: %(default)s; it converges in about 40)",
    )
    demo.add_argument(
        "--output",
        type=_png,
        default="matkern-co2.png",
        metavar="FILE",
        help="where to save the picture (default: %(default)s)",
    )
    demo.set_defaults(command=_demo)

    info = commands.add_parser(
        "info",
        help="show versions, the BLAS library and the threads",
        description="Show the versions, the BLAS library and the threads that matkern computes with: what a bug "
        "report needs.",
    )
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(command=_info)
    return parser
