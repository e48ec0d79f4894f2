"""What `classifier train` and `ner train` share: a head on an encoder as it is, or as it is tuned.

With --adapt an encoder is tuned for one head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from simsearch.cli.input import report_counts
from simsearch.cli.options import EncoderName
from simsearch.cli.output import Output
from simsearch.cli.run_output import print_result, stages
from simsearch.errors import InvalidInput

if TYPE_CHECKING:
    from simsearch.encoder import Encoder, EncodingCounts
    from simsearch.training import FinetuneResult, TrainingData

# What the encoder forgets is told, and nothing is mixed: it is tuned for this head alone.
_ANY_FORGETTING = 0.99


class _Head(Protocol):
    def save(self, directory: Path, /, *, replace: bool = False) -> None: ...


class _Trained(Protocol):
    @property
    def head(self) -> _Head: ...


TrainedT = TypeVar("TrainedT", bound=_Trained)


@dataclass(frozen=True, slots=True)
class HeadTraining:
    """Where a head goes, and what encoder it is for."""

    head: Path
    encoder: str | None
    adapt: str | None
    model: Path | None
    adapt_epochs: int | None
    seed: int
    replace: bool
    force: bool

    def check(self) -> None:
        """Refuse places that are taken, and what does not go together.

        Raises:
            InvalidInput: --adapt and what goes with it are not given together.
            AlreadyExists: something is at a place that is not to be replaced.
        """
        from simsearch.heads import check_head_place

        check_head_place(self.head, replace=self.replace)
        if self.adapt is None:
            if self.model is not None or self.adapt_epochs is not None or self.force:
                raise InvalidInput("--model, --adapt-epochs and --force go with --adapt")
            return
        if self.model is None:
            raise InvalidInput("where is the tuned encoder to go? (--model MODEL_DIR)")
        from simsearch.training import check_output
        from simsearch.training.config import parse_adapt
        from simsearch.training.documents import HEADS

        parse_adapt(self.adapt)
        head, model = self.head.resolve(), self.model.resolve()
        if model == head or head in model.parents:
            raise InvalidInput(
                f"--model {self.model} would lie in the head's directory (put it elsewhere)"
            )
        if model in head.parents and head.parent != model / HEADS:
            raise InvalidInput(
                f"-o {self.head} would lie in the model's directory, where a head may lie in "
                f"{self.model / HEADS} alone"
            )
        check_output(self.model, replace=self.replace)

    def train(
        self, fit: "Callable[[Encoder, EncodingCounts], TrainedT]", output: Output
    ) -> TrainedT:
        """Fit a head to the encoder as it is, and save it."""
        from simsearch.encoder import Encoder, EncodingCounts
        from simsearch.heads import Tagger

        counts = EncodingCounts()
        trained = fit(Encoder.load(self.encoder), counts)
        report_counts(output, counts, in_windows=isinstance(trained.head, Tagger))
        trained.head.save(self.head, replace=self.replace)
        return trained

    def tune(self, data: "TrainingData", output: Output) -> int:
        """Tune the encoder, save the head that was fitted to it, tell both; return the exit code.

        The verdict is on the tuned encoder's head against one on the encoder as it was. `check` has
        passed.
        """
        from simsearch.encoder import Encoder
        from simsearch.heads import load_head
        from simsearch.training import TrainingConfig, finetune

        if self.adapt is None or self.model is None:
            raise InvalidInput("an encoder is tuned with --adapt and --model")
        with stages(output) as progress:
            result = finetune(
                data,
                self.model,
                encoder=self.encoder,
                config=TrainingConfig(
                    adapt=self.adapt,
                    epochs=self.adapt_epochs,
                    seed=self.seed,
                    max_forgetting=_ANY_FORGETTING,
                ),
                replace=self.replace,
                force=self.force,
                say=output.say,
                progress=progress,
            )
        # The run leaves the head in MODEL_DIR/heads, which may be where it is asked for.
        if result.kept and Path(result.heads[0]).resolve() != self.head.resolve():
            load_head(result.heads[0]).save(self.head, replace=self.replace)
        base, tuned = Encoder.load(self.encoder).fingerprint, None
        if result.kept:
            tuned = Encoder.load(self.model).fingerprint
        _tell(output, result, self.head, self.model, (base, tuned))
        return 0 if result.verdict == "keep" else 1


def make_head_training(
    *,
    head: Annotated[Path, typer.Option("-o", "--output", help="The head's directory, to be made.")],
    encoder: EncoderName = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            "--adapt",
            help="Tune the encoder, too: full, last-N, gradual, lora, dense or conv; "
            "needs --model.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="With --adapt: where the tuned encoder goes.")
    ] = None,
    adapt_epochs: Annotated[
        int | None, typer.Option("--adapt-epochs", min=1, help="With --adapt: epochs of tuning.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")] = 0,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace a head that is there, once this one is trained."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="With --adapt: keep both even if the frozen encoder is as good."
        ),
    ] = False,
) -> HeadTraining:
    """Make the HeadTraining of a command that trains a head."""
    return HeadTraining(head, encoder, adapt, model, adapt_epochs, seed, replace, force)


def _tell(
    output: Output,
    result: "FinetuneResult",
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
