"""The encoder as it is in the middle of a run, for scoring and for mining: no file, no export."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from sentence_transformers import SentenceTransformer

from simsearch.encoder import EncodingCounts, text_chunks
from simsearch.encoder.layout import Layout
from simsearch.encoder.runtime import FloatArray
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.training.micro_batches import MicroBatches, TokenizedInput

_CHUNK = 1024


class LiveEncoder:
    """Embeds texts with the weights as they are at the moment of the call."""

    def __init__(
        self, model: SentenceTransformer, layout: Layout, micro_batches: MicroBatches
    ) -> None:
        self.dim = layout.dim
        self._model = model
        self._layout = layout
        self._micro_batches = micro_batches
        self._tokenizer = TextTokenizer.of(layout)

    def encode_documents(
        self, texts: Sequence[str], *, counts: EncodingCounts | None = None
    ) -> FloatArray:
        """Return the embeddings of documents, (n, dim), in order."""
        return self._encode(texts, self._layout.document_prompt)

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return the embeddings of queries, (n, dim), in order."""
        return self._encode(texts, self._layout.query_prompt)

    def _encode(self, texts: Iterable[str], prompt: str) -> FloatArray:
        training = self._model.training
        self._model.eval()
        try:
            parts = [self._embed(chunk, prompt) for chunk in text_chunks(texts, len, most=_CHUNK)]
        finally:
            self._model.train(training)
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def _embed(self, texts: Sequence[str], prompt: str) -> FloatArray:
        skip = self._tokenizer.left_out(prompt)
        rows = self._tokenizer.tokenize([prompt + text for text in texts])
        embeddings = self._micro_batches.embed([TokenizedInput(row.ids, skip) for row in rows])
        vectors: FloatArray = embeddings.numpy(force=True)
        return vectors
