"""Tiny random model directories of many encoder families, and what their embeddings should be.

Each row of FAMILIES writes one directory: a tokenizer trained on a few sentences, and random
weights, both the same on every run. No network. The weights are wide, so that a wrong mask,
position or special token moves the embeddings by far more than the tolerance of a test.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from conftest import WORDS

WINDOW = 32

_SENTENCES = [
    *(" ".join(WORDS[start : start + 9]) for start in range(0, len(WORDS), 3)),
    "Grüße aus Zürich, die Überweisung fehlt noch",
    "Where is my parcel? I ordered it on the 3rd (12.5% off)!",
    "卡被机器吞了，怎么办？",
    "我的包裹还没有到。",
    "help 🙂🚀🔥 please",
]

# One word, the window and far beyond it, several scripts, odd spaces, and the special tokens of
# most families spelled out.
TEXTS = [
    "card",
    "?",
    "my card was swallowed by the machine",
    "late parcel, " * 40,
    "Grüße aus Zürich, die Überweisung fehlt noch",
    "卡被机器吞了，怎么办？",
    "🙂🚀🔥 help 👩‍👩‍👧‍👦",
    "How do I reset my PASSWORD, please?",
    "  the cat \t sat\non   the mat ",
    "the cat sat on the mat, and the bird sings of a red phone and a blue screen",
    "Где моя посылка?",
    "where is [MASK] </s> <pad> [SEP] <|endoftext|> my order",
]

_BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_END = "<|endoftext|>"
_ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# The names that most configurations give to the sizes of a model.
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.3,
}
_ROBERTA_SIZES = {
    **_SIZES,
    "max_position_embeddings": WINDOW + 2,  # positions are counted from pad_token_id + 1
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_GPT2_SIZES = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": WINDOW,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_ROPE_SIZES = {
    **_SIZES,
    "max_position_embeddings": 2 * WINDOW,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
_T5_SIZES = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "feed_forward_proj": "gated-gelu",
    "decoder_start_token_id": 0,
}
_DISTILBERT_SIZES = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.3,
}
_XLNET_SIZES = {
    "d_model": 32,
    "n_layer": 2,
    "n_head": 2,
    "d_inner": 64,
    "initializer_range": 0.3,
    "pad_token_id": 5,
}
_DEBERTA_SIZES = {
    **_SIZES,
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}
_MODERNBERT_SIZES = {
    **_SIZES,
    "layer_types": ["full_attention", "sliding_attention"],
    "local_attention": 8,
    "pad_token_id": 0,
    "cls_token_id": 2,
    "bos_token_id": 2,
    "sep_token_id": 3,
    "eos_token_id": 3,
}
_GEMMA_SIZES = {
    **_ROPE_SIZES,
    "layer_types": ["full_attention", "sliding_attention"],
    "sliding_window": 8,
    "query_pre_attn_scalar": 16,
    "pad_token_id": 0,
    "eos_token_id": 3,
    "bos_token_id": 2,
}


@dataclass(frozen=True, slots=True)
class Family:
    """A model directory to be written, and what a loader should find in it."""

    write: Callable[[Path], None]
    dim: int = 32
    max_length: int = WINDOW
    query_prompt: str = ""
    document_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Plain:
    """A transformer as `save_pretrained` leaves it: no modules.json, so its mean is meant."""

    model: str
    tokenizer: Callable[[], Any]
    sizes: dict[str, Any] = field(default_factory=lambda: _SIZES)
    seed: int = 0

    def __call__(self, path: Path) -> None:
        import torch
        import transformers

        tokenizer = self.tokenizer()
        model_class = getattr(transformers, self.model)
        config = model_class.config_class(vocab_size=len(tokenizer), **self.sizes)
        torch.manual_seed(self.seed)
        model_class(config).eval().save_pretrained(path)
        tokenizer.save_pretrained(path)


@dataclass(frozen=True, slots=True)
class Composed:
    """A directory that sentence-transformers writes: a plain transformer and more modules."""

    base: Plain
    modules: Callable[[], Sequence[Any]]
    transformer: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    def __call__(self, path: Path) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Transformer

        with tempfile.TemporaryDirectory() as scratch:
            self.base(Path(scratch))
            transformer = Transformer(scratch, **self.transformer)
            torch.manual_seed(1)
            modules = [transformer, *self.modules()]
            model = SentenceTransformer(modules=modules, device="cpu", **self.model)
            model.save(str(path), create_model_card=False)


@dataclass(frozen=True, slots=True)
class OldFormat:
    """A directory as sentence-transformers wrote it up to version 5."""

    base: Plain
    pooling: str = "pooling_mode_mean_tokens"
    transformer_folder: str = ""
    limits: dict[str, Any] = field(default_factory=lambda: {"max_seq_length": WINDOW})
    dense: dict[str, Any] | None = None

    def __call__(self, path: Path) -> None:
        transformer = path / self.transformer_folder
        transformer.mkdir(parents=True)
        self.base(transformer)
        limits = {"max_seq_length": None, "do_lower_case": False, **self.limits}
        _write_json(transformer / "sentence_bert_config.json", limits)
        flags = dict.fromkeys(_OLD_POOLING, False) | {self.pooling: True}
        _write_json(path / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **flags})
        modules = [("Transformer", self.transformer_folder), ("Pooling", "1_Pooling")]
        if self.dense is not None:
            _write_dense(path / "2_Dense", self.dense)
            modules.append(("Dense", "2_Dense"))
        modules.append(("Normalize", f"{len(modules)}_Normalize"))  # a folder that is not there
        listing = [
            {
                "idx": number,
                "name": str(number),
                "path": folder,
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, (kind, folder) in enumerate(modules)
        ]
        _write_json(path / "modules.json", listing)
        versions = {"sentence_transformers": "2.2.2", "transformers": "4.30.0", "pytorch": "2.0.1"}
        _write_json(path / "config_sentence_transformers.json", {"__version__": versions})


_OLD_POOLING = (
    "pooling_mode_cls_token",
    "pooling_mode_mean_tokens",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_dense(path: Path, config: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    _write_json(path / "config.json", config)
    generator = torch.Generator().manual_seed(2)
    shapes = {"linear.weight": (config["out_features"], config["in_features"])}
    if config["bias"]:
        shapes["linear.bias"] = (config["out_features"],)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, path / "model.safetensors")


def _byte_pairs(special: Sequence[str], *, of_bytes: bool) -> tuple[dict[str, int], list[Any]]:
    """Train byte-pair encoding; return the vocabulary, special tokens first, and the merges."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    alphabet = []
    if of_bytes:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*_SENTENCES, *map(str.lower, _SENTENCES)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


@dataclass(frozen=True)
class BytePairs:
    """A tokenizer of transformers, by class name, over byte-level BPE."""

    name: str
    special: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)
    window: int | None = WINDOW

    def __call__(self) -> Any:
        import transformers

        vocabulary, merges = _byte_pairs(self.special, of_bytes=True)
        tokenizer_class = getattr(transformers, self.name)
        return tokenizer_class(
            vocab=vocabulary, merges=merges, model_max_length=self.window, **self.options
        )


@dataclass(frozen=True)
class WordPieces:
    """A tokenizer of transformers, by class name, over WordPiece."""

    name: str = "BertTokenizer"
    special: Sequence[str] = _BERT_TOKENS
    options: dict[str, Any] = field(default_factory=dict)
    window: int | None = WINDOW

    def __call__(self) -> Any:
        import transformers

        # The library's WordPiece trainer breaks ties by the order of a hash map, so another
        # vocabulary comes out every time. These are its pieces, at the start of words and within.
        pieces = list(_byte_pairs((), of_bytes=False)[0])
        tokens = [*self.special, *pieces, *(f"##{piece}" for piece in pieces)]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        tokenizer_class = getattr(transformers, self.name)
        return tokenizer_class(vocab=vocabulary, model_max_length=self.window, **self.options)


@dataclass(frozen=True)
class Pieces:
    """A tokenizer of transformers, by class name, over SentencePiece's Unigram."""

    name: str
    special: Sequence[str]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        import transformers
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        unknown = next(token for token in self.special if "unk" in token.lower())
        trainer = trainers.UnigramTrainer(
            vocab_size=300,
            special_tokens=list(self.special),
            unk_token=unknown,
            show_progress=False,
        )
        tokenizer.train_from_iterator([*_SENTENCES, *map(str.lower, _SENTENCES)], trainer)
        trained = json.loads(tokenizer.to_str())["model"]["vocab"][len(self.special) :]
        # The last digits of the scores, and with them the order, differ from run to run.
        rounded = [(token, round(score, 3)) for token, score in trained]
        rounded.sort(key=lambda piece: (-piece[1], piece[0]))
        vocabulary = [*((token, 0.0) for token in self.special), *rounded]
        tokenizer_class = getattr(transformers, self.name)
        return tokenizer_class(vocab=vocabulary, model_max_length=WINDOW, **self.options)


def _generic_tokenizer() -> Any:
    """Return a tokenizer of no family, which transformers reads from tokenizer.json alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = _byte_pairs(_BERT_TOKENS, of_bytes=True)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    special = dict(zip(names, _BERT_TOKENS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=WINDOW, **special)


def _ending_tokenizer() -> Any:
    """Return Qwen3's tokenizer as its embedding models have it: an end token after every text."""
    from tokenizers import processors

    tokenizer = _QWEN3_TOKENIZER()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>",
        pair="$A <|endoftext|> $B <|endoftext|>",
        special_tokens=[("<|endoftext|>", 0)],
    )
    return tokenizer


def _chat_tokenizer() -> Any:
    """Return the same with a chat template, which is for generation and not for embeddings."""
    tokenizer = _ending_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}<|im_end|>"
        "{% endfor %}"
    )
    return tokenizer


_BERT = Plain("BertModel", WordPieces())
_CASED_BERT = Plain("BertModel", WordPieces(options={"do_lower_case": False}))
_T5_TOKENIZER = Pieces("T5Tokenizer", ("<pad>", "</s>", "<unk>"), {"extra_ids": 3})
_T5 = Plain("T5ForConditionalGeneration", _T5_TOKENIZER, _T5_SIZES)
_GPT2_WITH_PAD = Plain(
    "GPT2LMHeadModel",
    BytePairs("GPT2Tokenizer", (_END,), {"pad_token": _END, "padding_side": "left"}),
    {**_GPT2_SIZES, "pad_token_id": 0},
)
_QWEN3_TOKENIZER = BytePairs(
    "Qwen2Tokenizer", (_END, "<|im_end|>"), {"eos_token": "<|im_end|>", "padding_side": "left"}
)


def _pooling(mode: Any, **options: Any) -> Callable[[], list[Any]]:
    def make() -> list[Any]:
        from sentence_transformers.sentence_transformer.modules import Pooling

        return [Pooling(32, mode, **options)]

    return make


def _heads(*parts: str, mode: str = "mean", width: int = 48) -> Callable[[], list[Any]]:
    """Return a maker of pooling and what stands after it: `dense-tanh`, `dense`, `normalize`."""

    def make() -> list[Any]:
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
        from torch import nn

        made: list[Any] = [Pooling(32, mode)]
        size = 32
        for part in parts:
            if part == "normalize":
                made.append(Normalize())
                continue
            tanh = part == "dense-tanh"
            activation = nn.Tanh() if tanh else nn.Identity()
            made.append(Dense(size, width, bias=tanh, activation_function=activation))
            size = width
        return made

    return make


# What hubs hold without modules.json.
_PLAIN = {
    "bert": _BERT,
    # As pretrained: weights named `bert.*`, a head that is not used, no pooler, no window told.
    "bert-masked-lm": Plain("BertForMaskedLM", WordPieces(window=None)),
    "distilbert": Plain(
        "DistilBertForMaskedLM", WordPieces("DistilBertTokenizer"), _DISTILBERT_SIZES
    ),
    "mpnet": Plain(
        "MPNetForMaskedLM",
        WordPieces("MPNetTokenizer", ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")),
        _ROBERTA_SIZES,
    ),
    "electra": Plain("ElectraForPreTraining", WordPieces(), {**_SIZES, "embedding_size": 16}),
    "roberta": Plain(
        "RobertaForMaskedLM", BytePairs("RobertaTokenizer", _ROBERTA_TOKENS), _ROBERTA_SIZES
    ),
    "xlm-roberta": Plain(
        "XLMRobertaForMaskedLM", Pieces("XLMRobertaTokenizer", _ROBERTA_TOKENS), _ROBERTA_SIZES
    ),
    "camembert": Plain(
        "CamembertForMaskedLM", Pieces("CamembertTokenizer", _ROBERTA_TOKENS), _ROBERTA_SIZES
    ),
    "albert": Plain(
        "AlbertForMaskedLM",
        Pieces("AlbertTokenizer", ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")),
        {**_SIZES, "embedding_size": 16},
    ),
    "deberta-v2": Plain(
        "DebertaV2ForMaskedLM",
        Pieces("DebertaV2Tokenizer", ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")),
        _DEBERTA_SIZES,
    ),
    "t5": _T5,
    "mt5": Plain("MT5ForConditionalGeneration", _T5_TOKENIZER, _T5_SIZES),
    # Its special tokens stand at the end of a text.
    "xlnet": Plain(
        "XLNetLMHeadModel",
        Pieces("XLNetTokenizer", ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>")),
        _XLNET_SIZES,
    ),
    # No pad token anywhere, and no window but that of config.json, there called n_positions.
    "gpt2": Plain(
        "GPT2LMHeadModel",
        BytePairs("GPT2Tokenizer", (_END,), {"padding_side": "left"}, window=None),
        _GPT2_SIZES,
    ),
    "modernbert": Plain("ModernBertForMaskedLM", _generic_tokenizer, _MODERNBERT_SIZES),
    "nomic-bert": Plain("NomicBertModel", WordPieces()),
    "qwen3": Plain("Qwen3Model", _QWEN3_TOKENIZER, _ROPE_SIZES),
    # Without modules.json it is the mean, here as of every family; sentence-transformers takes the
    # last token of a causal language model.
    "qwen3-causal-lm": Plain("Qwen3ForCausalLM", _QWEN3_TOKENIZER, _ROPE_SIZES),
    "gemma3": Plain("Gemma3TextModel", _generic_tokenizer, _GEMMA_SIZES),
}
# No attention: the graph that the tracing exporter makes of it holds for one length only.
MAMBA = Plain(
    "MambaModel",
    _generic_tokenizer,
    {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3},
)
PLAIN_FAMILIES = {name: Family(write) for name, write in _PLAIN.items()}

# What sentence-transformers 6 writes.
COMPOSED_FAMILIES: dict[str, Family] = {
    "pooling-cls": Family(Composed(_BERT, _pooling("cls"))),
    "pooling-max": Family(Composed(_BERT, _pooling("max"))),
    # Not to be told from the mean once it is of unit length, unless a Dense comes between.
    "pooling-mean-sqrt-len": Family(
        Composed(_BERT, _heads("dense-tanh", mode="mean_sqrt_len_tokens")), dim=48
    ),
    "pooling-weighted-mean": Family(Composed(_GPT2_WITH_PAD, _pooling("weightedmean"))),
    "pooling-mean-and-cls": Family(Composed(_BERT, _pooling(("mean", "cls"))), dim=64),
    "pooling-last-token-gpt2": Family(Composed(_GPT2_WITH_PAD, _pooling("lasttoken"))),
    # As Qwen3-Embedding: an end token after every text, and its vector is the embedding.
    "pooling-last-token-qwen3": Family(
        Composed(
            Plain("Qwen3Model", _ending_tokenizer, _ROPE_SIZES),
            _heads("normalize", mode="lasttoken"),
            model={"prompts": {"query": "find what answers: ", "document": ""}},
        ),
        query_prompt="find what answers: ",
    ),
    # As LaBSE.
    "dense-tanh": Family(Composed(_BERT, _heads("dense-tanh", mode="cls")), dim=48),
    "normalize-before-dense": Family(
        Composed(_BERT, _heads("normalize", "dense-tanh", width=24)), dim=24
    ),
    # As sentence-t5 and gtr-t5.
    "dense-identity-t5": Family(Composed(_T5, _heads("dense", "normalize")), dim=48),
    # As EmbeddingGemma: attention in both directions, two projections, prompts.
    "two-dense-gemma3": Family(
        Composed(
            Plain(
                "Gemma3TextModel",
                _generic_tokenizer,
                {**_GEMMA_SIZES, "use_bidirectional_attention": True},
            ),
            _heads("dense", "dense", "normalize"),
            model={"prompts": {"query": "query: ", "document": "title: none | text: "}},
        ),
        dim=48,
        query_prompt="query: ",
        document_prompt="title: none | text: ",
    ),
    "prompts-left-out-of-pooling": Family(
        Composed(
            _BERT,
            _pooling("mean", include_prompt=False),
            model={"prompts": {"query": "find my card: ", "document": "card: "}},
        ),
        query_prompt="find my card: ",
        document_prompt="card: ",
    ),
    "max-seq-length": Family(
        Composed(_BERT, _pooling("mean"), transformer={"max_seq_length": 12}), max_length=12
    ),
    "truncated-dim": Family(Composed(_BERT, _pooling("mean"), model={"truncate_dim": 16}), dim=16),
}

# What sentence-transformers wrote up to version 5.
OLD_FAMILIES: dict[str, Family] = {
    "old-mean": Family(OldFormat(_BERT, limits={"max_seq_length": 20}), max_length=20),
    "old-cls": Family(OldFormat(_BERT, "pooling_mode_cls_token")),
    "old-lower-case": Family(OldFormat(_CASED_BERT, limits={"do_lower_case": True})),
    "old-transformer-folder": Family(OldFormat(_BERT, transformer_folder="0_Transformer")),
    # As Qwen3-Embedding lies on the hub. Built anew from the folder, a Transformer of the library
    # puts every text into the chat template; loaded through modules.json, it does not.
    "old-last-token-qwen3": Family(
        OldFormat(Plain("Qwen3Model", _chat_tokenizer, _ROPE_SIZES), "pooling_mode_lasttoken")
    ),
    "old-dense": Family(
        OldFormat(
            _BERT,
            "pooling_mode_mean_sqrt_len_tokens",
            dense={
                "in_features": 32,
                "out_features": 48,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        ),
        dim=48,
    ),
    "old-dense-identity": Family(
        OldFormat(
            _T5,
            dense={
                "in_features": 32,
                "out_features": 48,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        ),
        dim=48,
    ),
}

FAMILIES = {**PLAIN_FAMILIES, **COMPOSED_FAMILIES, **OLD_FAMILIES}


def library_embeddings(path: Path, texts: Sequence[str], prompt: str = "") -> np.ndarray:
    """Return the embeddings that sentence-transformers computes, (n, dim), of unit length.

    One text at a time: a batch of one has no padding, so the side that a tokenizer pads on, and
    position ids that do not mind the padding, have no say. An explicit prompt, even an empty one,
    takes the place of the directory's default prompt.

    Read in its source: the library drops the decoder of a T5 (T5EncoderModel); every token counts
    in a mean, special ones too; a directory without modules.json is pooled by the mean, or by the
    last token where `architectures` names a `...ForCausalLM`.
    """
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": "float32"})
    rows = model.encode(list(texts), prompt=prompt, batch_size=1, show_progress_bar=False)
    return _unit(rows)


def _is_plain(path: Path) -> bool:
    return not (path / "modules.json").is_file()


def oracle_embeddings(path: Path, texts: Sequence[str], prompt: str = "") -> np.ndarray:
    """Return what the embeddings of a model directory are, (n, dim), of unit length.

    Those of sentence-transformers, but for two cases in which the mean is taken here: a causal
    language model that is not said to be pooled in another way, and a tokenizer without a pad
    token, which the library refuses even where there is nothing to pad.
    """
    config = json.loads((path / "config.json").read_text()) if _is_plain(path) else {}
    causal = str(config.get("architectures")).endswith("ForCausalLM']")
    if _has_pad_token(path) and not causal:
        return library_embeddings(path, texts, prompt)
    return _unit(_mean_of_tokens(path, [prompt + text for text in texts]))


def _unit(rows: np.ndarray) -> np.ndarray:
    exact = np.asarray(rows, dtype=np.float64)
    return (exact / np.linalg.norm(exact, axis=1, keepdims=True)).astype(np.float32)


def _has_pad_token(path: Path) -> bool:
    (settings,) = path.glob("**/tokenizer_config.json")
    return json.loads(settings.read_text(encoding="utf-8")).get("pad_token") is not None


def _mean_of_tokens(path: Path, texts: Sequence[str]) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    rows = []
    for text in texts:
        encoded = tokenizer(text, truncation=True, max_length=WINDOW, return_tensors="pt")
        with torch.inference_mode():
            rows.append(model(**encoded).last_hidden_state[0].mean(dim=0).numpy())
    return np.stack(rows)
