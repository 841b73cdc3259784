"""Draw the optimization history of one run, or of several in one figure.

python scripts/plot_history.py runs/conductivity runs/conductivity-2 --out histories.png
"""

import argparse
import sys
from pathlib import Path

from pdeopt.cli.own_arguments import HISTORY_AXIS_NAMES
from pdeopt.run.errors import UsageError
from pdeopt.run.pictures.run_pictures import draw_histories


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--out", type=Path, default=Path("histories.png"), help="(default: %(default)s)")
    parser.add_argument(
        "--against", choices=HISTORY_AXIS_NAMES, default=HISTORY_AXIS_NAMES[0], help="(default: %(default)s)"
    )
    given = parser.parse_args(argv)
    try:
        draw_histories(given.directories, given.out, given.against)
    except UsageError as error:
        print(f"plot_history: error: {error}", file=sys.stderr)
        return 2
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
