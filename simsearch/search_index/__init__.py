"""What a user holds: the index directory, and how well it or an encoder retrieves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsearch.lazy import lazy_names

if TYPE_CHECKING:
    from simsearch.search_index.annotating import (
        AnnotatingEncoder,
        AnnotationReport,
        annotate_index,
    )
    from simsearch.search_index.asynchronous import (
        AsyncSearchIndex,
    )
    from simsearch.search_index.backup import (
        BackupReport,
        backup_index,
        restore_index,
    )
    from simsearch.search_index.binding import (
        Embedder,
        TextEncoder,
    )
    from simsearch.search_index.building import (
        BuildReport,
    )
    from simsearch.search_index.bulk import (
        build_index,
        check_build,
        refuse_known_ids,
        remove_all_but,
        write_corpus,
    )
    from simsearch.search_index.calibrating import (
        CalibrationReport,
        JudgedScores,
        RerankReport,
        calibrate,
        choose_rerank,
        judge_hits,
        judge_index_hits,
        judge_pairs,
    )
    from simsearch.search_index.check import (
        CheckReport,
        check_index,
    )
    from simsearch.search_index.checks import (
        check_dim,
        check_k,
        check_query,
        check_text,
    )
    from simsearch.search_index.compaction import (
        CompactReport,
        compact_index,
    )
    from simsearch.search_index.comparison import (
        Comparison,
        check_questions,
        compare_indexes,
    )
    from simsearch.search_index.directory import (
        is_index,
    )
    from simsearch.search_index.evaluate import (
        RetrievalTask,
        embed_pairs,
        evaluate_index,
        evaluate_retrieval,
        evaluate_sts,
        pair_similarities,
    )
    from simsearch.search_index.filtering import (
        FilteredRows,
        refuse_unknown_field,
    )
    from simsearch.search_index.index import (
        SearchIndex,
    )
    from simsearch.search_index.judged_answers import (
        answers_of_judgements,
    )
    from simsearch.search_index.judging import (
        JudgedDocument,
        JudgementState,
    )
    from simsearch.search_index.mode_tuning import (
        LEAST_QUERIES,
        tune_mode,
    )
    from simsearch.search_index.passages import (
        LongTexts,
    )
    from simsearch.search_index.reindex import (
        Follower,
        build_generation,
        roll_back,
    )
    from simsearch.search_index.reindex_plan import (
        ReindexPlan,
        plan_reindex,
    )
    from simsearch.search_index.repair import (
        RepairReport,
        repair_index,
    )
    from simsearch.search_index.reports import (
        CalibrationInfo,
        GenerationInfo,
        IndexInfo,
        SearchInfo,
        SegmentInfo,
        UpgradeReport,
        WriteReport,
    )
    from simsearch.search_index.reranking import (
        RERANK_TOP,
        Rerank,
        RerankChoice,
    )
    from simsearch.search_index.review import (
        Proposal,
        propose_judgements,
    )
    from simsearch.search_index.search_mode import (
        ModeChoice,
    )
    from simsearch.search_index.tuning import (
        TuneReport,
        over_memory,
        tune_index,
    )
    from simsearch.search_index.upgrade import (
        upgrade_index,
    )

_HOMES = {
    "annotating": ("AnnotatingEncoder", "AnnotationReport", "annotate_index"),
    "asynchronous": ("AsyncSearchIndex",),
    "backup": ("BackupReport", "backup_index", "restore_index"),
    "calibrating": (
        "CalibrationReport",
        "JudgedScores",
        "RerankReport",
        "calibrate",
        "choose_rerank",
        "judge_hits",
        "judge_index_hits",
        "judge_pairs",
    ),
    "check": ("CheckReport", "check_index"),
    "comparison": (
        "Comparison",
        "check_questions",
        "compare_indexes",
    ),
    "compaction": ("CompactReport", "compact_index"),
    "repair": ("RepairReport", "repair_index"),
    "binding": ("Embedder", "TextEncoder"),
    "building": ("BuildReport",),
    "bulk": (
        "build_index",
        "check_build",
        "refuse_known_ids",
        "remove_all_but",
        "write_corpus",
    ),
    "checks": (
        "check_dim",
        "check_k",
        "check_query",
        "check_text",
    ),
    "directory": ("is_index",),
    "evaluate": (
        "RetrievalTask",
        "embed_pairs",
        "evaluate_index",
        "evaluate_retrieval",
        "evaluate_sts",
        "pair_similarities",
    ),
    "filtering": ("FilteredRows", "refuse_unknown_field"),
    "index": ("SearchIndex",),
    "judged_answers": ("answers_of_judgements",),
    "judging": ("JudgedDocument", "JudgementState"),
    "mode_tuning": ("LEAST_QUERIES", "tune_mode"),
    "passages": ("LongTexts",),
    "reindex": (
        "Follower",
        "build_generation",
        "roll_back",
    ),
    "reindex_plan": (
        "ReindexPlan",
        "plan_reindex",
    ),
    "reports": (
        "CalibrationInfo",
        "GenerationInfo",
        "IndexInfo",
        "SearchInfo",
        "SegmentInfo",
        "UpgradeReport",
        "WriteReport",
    ),
    "reranking": ("RERANK_TOP", "Rerank", "RerankChoice"),
    "review": ("Proposal", "propose_judgements"),
    "tuning": ("TuneReport", "over_memory", "tune_index"),
    "search_mode": ("ModeChoice",),
    "upgrade": ("upgrade_index",),
}
if not TYPE_CHECKING:  # a type checker would take every name for one of the package
    __getattr__ = lazy_names(__name__, _HOMES)

__all__ = [
    "LEAST_QUERIES",
    "RERANK_TOP",
    "AnnotatingEncoder",
    "AnnotationReport",
    "AsyncSearchIndex",
    "BackupReport",
    "BuildReport",
    "CalibrationInfo",
    "CalibrationReport",
    "CheckReport",
    "CompactReport",
    "Comparison",
    "Embedder",
    "FilteredRows",
    "Follower",
    "GenerationInfo",
    "IndexInfo",
    "JudgedDocument",
    "JudgedScores",
    "JudgementState",
    "LongTexts",
    "ModeChoice",
    "Proposal",
    "ReindexPlan",
    "RepairReport",
    "Rerank",
    "RerankChoice",
    "RerankReport",
    "RetrievalTask",
    "SearchIndex",
    "SearchInfo",
    "SegmentInfo",
    "TextEncoder",
    "TuneReport",
    "UpgradeReport",
    "WriteReport",
    "annotate_index",
    "answers_of_judgements",
    "backup_index",
    "build_generation",
    "build_index",
    "calibrate",
    "check_build",
    "check_dim",
    "check_index",
    "check_k",
    "check_query",
    "check_questions",
    "check_text",
    "choose_rerank",
    "compact_index",
    "compare_indexes",
    "embed_pairs",
    "evaluate_index",
    "evaluate_retrieval",
    "evaluate_sts",
    "is_index",
    "judge_hits",
    "judge_index_hits",
    "judge_pairs",
    "over_memory",
    "pair_similarities",
    "plan_reindex",
    "propose_judgements",
    "refuse_known_ids",
    "refuse_unknown_field",
    "remove_all_but",
    "repair_index",
    "restore_index",
    "roll_back",
    "tune_index",
    "tune_mode",
    "upgrade_index",
    "write_corpus",
]
