"""What `classifier train` and `ner train` do with --adapt: an encoder is tuned for one head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.finetune import print_result, stages
from simsearch.cli.output import Output
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.training import FinetuneResult, TrainingData

Adapt = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        help="Tune the encoder, too: full, last-N, gradual, lora, dense or conv; needs --model.",
    ),
]
ModelDir = Annotated[
    Path | None, typer.Option("--model", help="With --adapt: where the tuned encoder goes.")
]
AdaptEpochs = Annotated[
    int | None, typer.Option("--adapt-epochs", min=1, help="With --adapt: epochs of tuning.")
]
Force = Annotated[
    bool,
    typer.Option("--force", help="With --adapt: keep both even if the frozen encoder is as good."),
]
# What the encoder forgets is told, and nothing is mixed: it is tuned for this head alone.
_ANY_FORGETTING = 0.99


def check_tuning(
    adapt: str | None, model: Path | None, epochs: int | None, *, force: bool, replace: bool
) -> None:
    """Refuse a place for a tuned encoder where there is none, or none to be tuned.

    Raises:
        InvalidInput: --adapt and what goes with it are not given together.
        AlreadyExists: something is at `model` that is not to be replaced.
    """
    if adapt is None:
        if model is not None or epochs is not None or force:
            raise InvalidInput("--model, --adapt-epochs and --force go with --adapt")
        return
    if model is None:
        raise InvalidInput("where is the tuned encoder to go? (--model MODEL_DIR)")
    from simsearch.training import check_output
    from simsearch.training.config import parse_adapt

    parse_adapt(adapt)
    check_output(model, replace=replace)


def tune_for_head(
    data: TrainingData,
    head: Path,
    output: Output,
    *,
    adapt: str,
    model: Path,
    encoder: str | None,
    epochs: int | None,
    seed: int,
    replace: bool,
    force: bool,
) -> int:
    """Tune an encoder, save the head that was fitted to it, tell both; return the exit code.

    The verdict is on the tuned encoder's head against one on the encoder as it was.
    """
    from simsearch.encoder import Encoder
    from simsearch.heads import load_head
    from simsearch.training import TrainingConfig, finetune

    config = TrainingConfig(adapt=adapt, epochs=epochs, seed=seed, max_forgetting=_ANY_FORGETTING)
    with stages(output) as progress:
        result = finetune(
            data,
            model,
            encoder=encoder,
            config=config,
            replace=replace,
            force=force,
            say=output.say,
            progress=progress,
        )
    if result.kept:
        load_head(result.heads[0]).save(head, replace=replace)
    base, tuned = Encoder.load(encoder).fingerprint, None
    if result.kept:
        tuned = Encoder.load(model).fingerprint
    _tell(output, result, head, model, (base, tuned))
    return 0 if result.verdict == "keep" else 1


def _tell(
    output: Output,
    result: FinetuneResult,
    head: Path,
    model: Path,
    fingerprints: tuple[str, str | None],
) -> None:
    base, tuned = fingerprints
    if output.json_only:
        facts: dict[str, Any] = {
            "head": str(head) if result.kept else None,
            "model": str(model) if result.kept else None,
            "run": result.run,
            "verdict": result.verdict,
            "reason": result.reason,
            "before": dict(result.before),
            "after": dict(result.after),
            "base_fingerprint": base,
            "fingerprint": tuned,
            "seconds": result.seconds,
        }
        output.result(facts)
        return
    print_result(output, result)
    if tuned is not None:
        output.text(f"{head}: a head on the tuned encoder {model}")
        output.say(
            f"this encoder is another one ({base[:12]} became {tuned[:12]}): an index that is to "
            f"go with the head has to be encoded again (simsearch reindex INDEX_DIR --encoder "
            f"{model})"
        )
