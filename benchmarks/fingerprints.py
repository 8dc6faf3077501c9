"""Hashes of small fits, to be compared before and after a change that must not alter any training.

Run ``python benchmarks/fingerprints.py > before.txt``, make the change, run it again, and compare
by ``diff``; it takes a minute on one core. A line has the name of a fit, and a hash of all that it
gives to the bit: predictions, losses of epochs and of batches, weights. The last line is a hash of
all others. ``--only PATTERN`` chooses fits by a regular expression, and ``--parts`` prints what a
hash is made of, to see where two differ. Hashes hold for one machine and its versions of torch and
numpy. Nothing private is imported, so that the script itself stays as it is.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from itertools import chain
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Matrix products would otherwise be rounded by where in memory their factors lie.
os.environ.setdefault("MKL_CBWR", "AUTO")

import numpy as np
import torch
from fingerprint_fits import FITS, FITS_OF_TWO, RANK

import sksurvtorch
from sksurvtorch.exceptions import SkippedBatchWarning

LIMIT = 120  # seconds of two processes


def update(digest, value):
    """Take numbers, arrays, tensors, or collections of them into a hash."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for name, part in value.items():
            digest.update(f"{name}:".encode())
            update(digest, part)
        return
    array = np.asarray(value)
    if array.dtype == object:
        raise TypeError(f"No bytes are those of {value!r:.80}.")
    digest.update(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())


def hashed(value):
    """Return the hash of a value."""
    digest = hashlib.blake2b(digest_size=8)
    update(digest, value)
    return digest.hexdigest()


def fingerprints(fits, pattern):
    """Iterate over the fits whose name has the pattern, with the hash of each part."""
    for name, made in fits.items():
        if not re.search(pattern, name):
            continue
        parts = {}
        try:
            parts = {part: hashed(value) for part, value in made().items()}
        except Exception:
            traceback.print_exc()
        yield name, parts


def fingerprints_of_two(pattern):
    """Iterate over those of two processes, which are started once for all."""
    if not any(re.search(pattern, name) for name in FITS_OF_TWO):
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    with tempfile.TemporaryDirectory() as folder:
        own = [__file__, "--only", pattern, "--write", folder]
        subprocess.run([*launcher, *own], check=True)
        first, second = (json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(2))
    for name, parts in first.items():
        of_second = {f"{part}, second process": value for part, value in second[name].items()}
        yield name, parts | of_second if parts and of_second else {}


def parsed():
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="regular expression")
    parser.add_argument("--parts", action="store_true", help="print the hashes of parts, too")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # one of two processes
    return parser.parse_args()


def main():
    """Print a line for each fit, and one for all; or write them in one of two processes."""
    options = parsed()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", SkippedBatchWarning)
    if options.write:
        faulthandler.dump_traceback_later(LIMIT, exit=True)  # a process may wait for the other
        told = dict(fingerprints(FITS_OF_TWO, options.only))
        (options.write / f"{RANK}.json").write_text(json.dumps(told))
        return
    print(f"Fits of {sksurvtorch.__file__}", file=sys.stderr)
    told = {}
    both = fingerprints(FITS, options.only), fingerprints_of_two(options.only)
    for name, parts in chain(*both):
        told[name] = parts
        print(f"{name:<60} {hashed(parts) if parts else 'failed'}", flush=True)
        for part, value in parts.items() if options.parts else ():
            print(f"    {part:<56} {value}")
    print(f"{f'all {len(told)}':<60} {hashed(told)}")
    if not all(told.values()):
        sys.exit("Some fits failed.")


if __name__ == "__main__":
    main()
