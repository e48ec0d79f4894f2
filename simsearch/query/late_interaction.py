"""Late interaction: a query and a text compared token by token (ColBERT, Khattab & Zaharia 2020).

Every token of the query takes the token of the text that is most like it. ColBERT adds these up;
here they are averaged, so that queries of all lengths have scores between -1 and 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def unit_rows(vectors: FloatArray) -> FloatArray:
    """Return each row (n, d) at length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def maxsim(query: FloatArray, text: FloatArray) -> float:
    """Return the mean over the query's tokens of their highest cosine with a token of the text.

    Both are of unit rows, (m, d) and (t, d); 0.0 where one of them has no token.
    """
    if not len(query) or not len(text):
        return 0.0
    return float((query @ text.T).max(axis=1).mean())
