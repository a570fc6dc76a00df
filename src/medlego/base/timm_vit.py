"""timm's VisionTransformer with fused qkv: vit_*, deit_*, DINOv2's and CLIP's towers, mini."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from medlego.base.family import Dimensions, Family, Rows


class TimmVit(Family):
    """All attributes of timm's class that medlego reads."""

    description = (
        "a vision transformer with fused attn.qkv and a position embedding (vit_*, deit_*)"
    )
    blocks = "blocks"
    maps: ClassVar[Mapping[str, Rows]] = {
        **{kind: Rows("attn.qkv", share, 3) for share, kind in enumerate("qkv")},
        "proj": Rows("attn.proj"),
        "fc1": Rows("mlp.fc1"),
        "fc2": Rows("mlp.fc2"),
    }
    patch_convolution = "patch_embed.proj"
    resampled = ("pos_embed",)

    def owns(self, module: nn.Module) -> bool:
        """Of timm's class, every attention fused, positions learnt."""
        from timm.models.vision_transformer import VisionTransformer

        return (
            isinstance(module, VisionTransformer)
            and module.pos_embed is not None
            and all(hasattr(getattr(block, "attn", None), "qkv") for block in module.blocks)
        )

    def dimensions(self, module: Any) -> Dimensions:
        """As timm states them."""
        patches = module.patch_embed
        sides = int(patches.img_size[0]), int(patches.patch_size[0])
        return Dimensions(*sides, int(module.num_prefix_tokens), int(module.num_features))

    def resize(self, module: Any, image_size: int) -> None:
        """By timm's own resampling."""
        module.set_input_size(img_size=(image_size, image_size))

    def embed(self, module: Any, inputs: Tensor) -> Tensor:
        """As `forward_features` begins."""
        tokens = module.patch_drop(module._pos_embed(module.patch_embed(inputs)))
        return cast(Tensor, module.norm_pre(tokens))

    def pool(self, module: Any, tokens: Tensor) -> Tensor:
        """As `forward_features` ends, and `forward_head` without its classifier."""
        return cast(Tensor, module.forward_head(module.norm(tokens), pre_logits=True))

    def pooled_tokens(self, module: Any) -> slice:
        """By `global_pool`."""
        return slice(1) if module.global_pool == "token" else slice(module.num_prefix_tokens, None)

    @contextmanager
    def attention(self, module: nn.Module) -> Iterator[list[nn.Module]]:
        """The dropout that every block's softmax passes."""
        layers = [block.attn for block in self.block_list(module)]
        fused = [layer.fused_attn for layer in layers]
        try:
            for layer in layers:
                layer.fused_attn = False
            yield [layer.attn_drop for layer in layers]
        finally:
            for layer, before in zip(layers, fused, strict=True):
                layer.fused_attn = before

    def classifiers(self, module: Any) -> tuple[str, ...]:
        """As the architecture's configuration names them: a distilled DeiT has two."""
        config: Mapping[str, Any] = getattr(module, "default_cfg", None) or {}
        names = config.get("classifier") or "head"
        return (names,) if isinstance(names, str) else tuple(names)
