"""timm's VisionTransformer with fused qkv: vit_*, deit_*, DINOv2's and CLIP's towers, mini."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

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

    def dimensions(self, module: nn.Module) -> Dimensions:
        """As timm states them."""
        model: Any = module
        patches = model.patch_embed
        sides = int(patches.img_size[0]), int(patches.patch_size[0])
        return Dimensions(*sides, int(model.num_prefix_tokens), int(model.num_features))

    def resize(self, module: nn.Module, image_size: int) -> None:
        """By timm's own resampling."""
        model: Any = module
        model.set_input_size(img_size=(image_size, image_size))

    def embed(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """As `forward_features` begins."""
        model: Any = module
        tokens: Tensor = model.norm_pre(
            model.patch_drop(model._pos_embed(model.patch_embed(inputs)))
        )
        return tokens

    def pool(self, module: nn.Module, tokens: Tensor) -> Tensor:
        """As `forward_features` ends, and `forward_head` without its classifier."""
        model: Any = module
        pooled: Tensor = model.forward_head(model.norm(tokens), pre_logits=True)
        return pooled

    def pooled_tokens(self, module: nn.Module) -> slice:
        """By `global_pool`."""
        model: Any = module
        return slice(1) if model.global_pool == "token" else slice(model.num_prefix_tokens, None)

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

    def classifiers(self, module: nn.Module) -> tuple[str, ...]:
        """As the architecture's configuration names them: a distilled DeiT has two."""
        config: Mapping[str, Any] = getattr(module, "default_cfg", None) or {}
        names = config.get("classifier") or "head"
        return (names,) if isinstance(names, str) else tuple(names)
