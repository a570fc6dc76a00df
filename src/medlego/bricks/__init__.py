"""What a site gives away: low-rank deltas, head, profile, card, file, signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.bricks.adapters.folding import fold
    from medlego.bricks.adapters.mixed import Adapter, Mixed
    from medlego.bricks.adapters.surgery import on_device, replace_patch_convolution
    from medlego.bricks.adapters.trainable import attach, attach_weighted, set_other_bricks
    from medlego.bricks.brick import (
        IN_MERGE,
        REFIT_WITH,
        TRAINED_WITH,
        Brick,
        Head,
        all_targets,
        brick_names,
        tools_used,
    )
    from medlego.bricks.content import group_tensors, read_groups
    from medlego.bricks.document import MAX_CURVE, MAX_POINT, Card, EpochPoint
    from medlego.bricks.file import (
        MAX_FILE_BYTES,
        BrickLike,
        Label,
        brick_bytes,
        brick_from_bytes,
        load_brick,
        load_bricks,
        open_bricks,
        read_label,
        save_brick,
    )
    from medlego.bricks.gram import MAX_GRAM_DIRECTIONS, MIN_GRAM_IMAGES, Gram
    from medlego.bricks.head_file import RefitHead, head_bytes, load_head, save_head
    from medlego.bricks.lowrank import (
        LowRank,
        beside,
        canonical_problems,
        delta_group,
        fix_signs,
        product_svd,
        scaled_values,
        weighted_sum,
    )
    from medlego.bricks.private_profile import Reference, check_delta, fit_private_profile
    from medlego.bricks.profile import (
        MAX_EPSILON,
        MIN_PROFILE_IMAGES,
        STEM_BLOCKS,
        Noise,
        Profile,
        fit_profile,
    )
    from medlego.bricks.signing import (
        PASSPHRASE,
        SIGNATURE_SUFFIX,
        BrickSignature,
        PublicKey,
        Signer,
        load_public_key,
        load_signature,
        load_signer,
        save_keys,
        save_signature,
        sign_brick,
        signature_beside,
        signature_bytes,
        signature_from_bytes,
    )

__all__ = [
    "IN_MERGE",
    "MAX_CURVE",
    "MAX_EPSILON",
    "MAX_FILE_BYTES",
    "MAX_GRAM_DIRECTIONS",
    "MAX_POINT",
    "MIN_GRAM_IMAGES",
    "MIN_PROFILE_IMAGES",
    "PASSPHRASE",
    "REFIT_WITH",
    "SIGNATURE_SUFFIX",
    "STEM_BLOCKS",
    "TRAINED_WITH",
    "Adapter",
    "Brick",
    "BrickLike",
    "BrickSignature",
    "Card",
    "EpochPoint",
    "Gram",
    "Head",
    "Label",
    "LowRank",
    "Mixed",
    "Noise",
    "Profile",
    "PublicKey",
    "Reference",
    "RefitHead",
    "Signer",
    "all_targets",
    "attach",
    "attach_weighted",
    "beside",
    "brick_bytes",
    "brick_from_bytes",
    "brick_names",
    "canonical_problems",
    "check_delta",
    "delta_group",
    "fit_private_profile",
    "fit_profile",
    "fix_signs",
    "fold",
    "group_tensors",
    "head_bytes",
    "load_brick",
    "load_bricks",
    "load_head",
    "load_public_key",
    "load_signature",
    "load_signer",
    "on_device",
    "open_bricks",
    "product_svd",
    "read_groups",
    "read_label",
    "replace_patch_convolution",
    "save_brick",
    "save_head",
    "save_keys",
    "save_signature",
    "scaled_values",
    "set_other_bricks",
    "sign_brick",
    "signature_beside",
    "signature_bytes",
    "signature_from_bytes",
    "tools_used",
    "weighted_sum",
]

load_lazily(__name__)
