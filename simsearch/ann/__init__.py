"""Nearest neighbours by FAISS."""

from simsearch.ann.vector_index import VectorIndex, set_threads

__all__ = ["VectorIndex", "set_threads"]
