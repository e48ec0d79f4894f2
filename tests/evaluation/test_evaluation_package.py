"""What the package shows, and what importing and using it costs."""

from __future__ import annotations

import subprocess
import sys

from simsearch import evaluation


def test_public_names_exist_once_each():  # the linter sorts them
    assert len(set(evaluation.__all__)) == len(evaluation.__all__)
    assert [name for name in evaluation.__all__ if not hasattr(evaluation, name)] == []


def test_importing_the_package_loads_neither_scipy_nor_scikit_learn():
    program = (
        "import sys, simsearch.evaluation\n"
        "print(sorted({'scipy', 'sklearn', 'torch', 'pandas'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
