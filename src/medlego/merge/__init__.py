"""Bricks to one set of deltas: methods, coefficients, sites, recipe, compatibility."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.merge.coefficients import (
        AUTO,
        RULES,
        Coefficients,
        check_coefficients,
        check_kind,
        find_rule,
    )
    from medlego.merge.compatibility import conflicts, head_conflicts
    from medlego.merge.depth import check_slope, with_slope
    from medlego.merge.diagnostics import BrickPair, Diagnosis, cosine, diagnose
    from medlego.merge.merge_files import merge_files
    from medlego.merge.method import (
        Grams,
        Merged,
        Method,
        MethodSettings,
        Provider,
        TaskVector,
        by_target,
        cut,
        merged_problems,
        numerical_rank,
        present,
    )
    from medlego.merge.methods import DEFAULT_METHOD, METHODS, find_method, register_method
    from medlego.merge.methods.linear import merge_linear
    from medlego.merge.recipe import GIVEN, SEARCHED, Ingredient, Mode, Recipe, as_mode
    from medlego.merge.sites import (
        Capability,
        as_sites,
        capabilities,
        share_out,
        site_weights,
        stated_images,
        task_vectors,
    )
    from medlego.merge.stream import merge_stream
    from medlego.merge.svc import calibrate_singular_values

__all__ = [
    "AUTO",
    "DEFAULT_METHOD",
    "GIVEN",
    "METHODS",
    "RULES",
    "SEARCHED",
    "BrickPair",
    "Capability",
    "Coefficients",
    "Diagnosis",
    "Grams",
    "Ingredient",
    "Merged",
    "Method",
    "MethodSettings",
    "Mode",
    "Provider",
    "Recipe",
    "TaskVector",
    "as_mode",
    "as_sites",
    "by_target",
    "calibrate_singular_values",
    "capabilities",
    "check_coefficients",
    "check_kind",
    "check_slope",
    "conflicts",
    "cosine",
    "cut",
    "diagnose",
    "find_method",
    "find_rule",
    "head_conflicts",
    "merge_files",
    "merge_linear",
    "merge_stream",
    "merged_problems",
    "numerical_rank",
    "present",
    "register_method",
    "share_out",
    "site_weights",
    "stated_images",
    "task_vectors",
    "with_slope",
]

load_lazily(__name__)
