"""Hugging Face's Llama in PyTorch, trained as `rope_lab.training` trains ours."""

from collections.abc import Callable
from typing import Any

from benchmarks.timing import load_torch
from rope_lab.model import ModelConfig
from rope_lab.training.config import TrainingConfig


def make_llama(config: ModelConfig, length: int, attention: str) -> Any:
    """LlamaForCausalLM of the same size; attention: "eager" or "sdpa"."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.ff_width,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            max_position_embeddings=length,
            rms_norm_eps=config.norm_epsilon,
            tie_word_embeddings=config.tied_embeddings,
            use_cache=False,
            attn_implementation=attention,
        )
    )


def hugging_face(model: Any, training: TrainingConfig, batch: dict) -> dict:
    """Calls by part, as in `benchmarks.training.ours`."""
    torch = load_torch()
    inputs, targets = (
        torch.from_numpy(batch[name]).long() for name in ("inputs", "targets")
    )
    # fused: the fastest that PyTorch has on a CPU
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        betas=(training.b1, training.b2),
        weight_decay=training.weight_decay,
        fused=True,
    )

    def loss():
        logits = model(input_ids=inputs).logits
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten()
        )

    def forward():
        with torch.no_grad():
            return loss()

    def gradients():
        model.zero_grad()
        value = loss()
        value.backward()
        return value

    def update():
        value = gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
        optimizer.step()
        return value

    return {
        "forward": forward,
        "forward+backward": gradients,
        "step": update,
        "attention": _attention(model, batch["inputs"].shape[1], len(inputs)),
    }


def _attention(model: Any, length: int, batch: int) -> Callable:
    """Forward and backward of one layer's attention, rotation included."""
    torch = load_torch()
    from transformers.models.llama import modeling_llama as llama

    config, layer = model.config, model.model.layers[0].self_attn
    shape = (batch, config.num_attention_heads, length, config.head_dim)
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    dout = torch.randn(batch, length, config.num_attention_heads, config.head_dim)
    positions = torch.arange(length)[None]
    cos, sin = model.model.rotary_emb(v, positions)
    eager = config._attn_implementation == "eager"
    mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
    function = (
        llama.eager_attention_forward
        if eager
        else llama.ALL_ATTENTION_FUNCTIONS[config._attn_implementation]
    )

    def both():
        turned = llama.apply_rotary_pos_emb(q, k, cos, sin)
        out, _ = function(
            layer, *turned, v, mask if eager else None, scaling=layer.scaling
        )
        return torch.autograd.grad(out, (q, k, v), dout)

    return both
