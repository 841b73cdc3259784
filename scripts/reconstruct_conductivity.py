"""Reconstruct a conductivity and write the run directory: the main job, with any option of ``pdeopt run conductivity``.

python scripts/reconstruct_conductivity.py --noise 0.02 --out runs/noisy
"""

import sys

from pdeopt.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", "conductivity", *sys.argv[1:]]))
