"""Evaluation: whether a program passes often enough, and no worse than before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.evals.baselines import (
        Baseline as Baseline,
        CaseResult as CaseResult,
        load_baselines as load_baselines,
        save_baselines as save_baselines,
    )
    from llmtest.evals.comparisons import (
        Comparison as Comparison,
        compare as compare,
        comparison_power as comparison_power,
        plan_comparison as plan_comparison,
    )
    from llmtest.evals.datasets import Case as Case, Dataset as Dataset
    from llmtest.evals.intervals import (
        Interval as Interval,
        bootstrap_mean as bootstrap_mean,
        clopper_pearson as clopper_pearson,
        confidence_sequence as confidence_sequence,
        mcnemar as mcnemar,
        paired_bootstrap as paired_bootstrap,
        pass_at_k as pass_at_k,
        pass_hat_k as pass_hat_k,
        sign_flip as sign_flip,
        wilson as wilson,
    )
    from llmtest.evals.judges import (
        Calibration as Calibration,
        calibrate as calibrate,
        labelled_runs as labelled_runs,
        position_bias as position_bias,
        verbosity_bias as verbosity_bias,
    )
    from llmtest.evals.model_judge import judge as judge, judge_pairs as judge_pairs
    from llmtest.evals.qualification import qualify as qualify
    from llmtest.evals.recording_scorers import (
        conforms as conforms,
        same_tree as same_tree,
        within as within,
    )
    from llmtest.evals.results import (
        RepeatResult as RepeatResult,
        Results as Results,
        RunError as RunError,
        SetHead as SetHead,
        SetResults as SetResults,
    )
    from llmtest.evals.scorers import (
        close_to as close_to,
        contains as contains,
        exact as exact,
        json_equal as json_equal,
        obeys as obeys,
        regex as regex,
        similar as similar,
        tools as tools,
        trajectory as trajectory,
    )
    from llmtest.evals.scores import CaseRun as CaseRun, Score as Score, Scores as Scores, score as score
    from llmtest.evals.verdicts import Plan as Plan, Requirement as Requirement, Verdict as Verdict
else:
    __getattr__, __dir__ = exports(__name__)
