"""Self-attention against PyTorch's own attention and transformer layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedrec.models.attention import AttentionBlock, SelfAttentionEncoder, attention_weights

DIM, LENGTH, HEADS = 6, 8, 3
NAMES = {"self_attn.in_proj_": "in_proj.", "self_attn.out_proj.": "out_proj."}


def torch_layer(block: AttentionBlock) -> nn.TransformerEncoderLayer:
    """Return PyTorch's layer of the same weights."""
    layer = nn.TransformerEncoderLayer(
        DIM, HEADS, dim_feedforward=DIM, dropout=0.0, batch_first=True, norm_first=True
    ).double()
    state = {name: value.detach() for name, value in block.named_parameters()}
    layer.load_state_dict({theirs: state[our_name(theirs)] for theirs in layer.state_dict()})
    return layer


def our_name(theirs: str) -> str:
    for prefix, ours in NAMES.items():
        theirs = theirs.replace(prefix, ours)
    return theirs


def encoder() -> SelfAttentionEncoder:
    torch.manual_seed(0)
    module = SelfAttentionEncoder(DIM, LENGTH, num_blocks=2, num_heads=HEADS).double()
    for parameter in module.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module


def causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def test_attention_is_that_of_torch() -> None:
    queries, keys, values = torch.randn(3, 2, HEADS, LENGTH, 4, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    torch.testing.assert_close(attention_weights(queries, keys) @ values, expected)


def test_a_block_is_a_transformer_layer_of_torch() -> None:
    block = encoder().blocks[0]
    states = torch.randn(3, LENGTH, DIM, dtype=torch.float64)
    expected = torch_layer(block)(states, src_mask=causal(LENGTH))
    torch.testing.assert_close(block(states), expected)


def test_the_weights_shown_are_those_that_the_last_state_is_mixed_with() -> None:
    module, last = encoder(), torch.tensor([LENGTH - 1, 3])
    events = torch.randn(2, LENGTH, DIM, dtype=torch.float64)
    shown = module.attention(events, last)
    first, second = map(torch_layer, module.blocks)
    states = first(module.scale * events + module.positions, src_mask=causal(LENGTH))
    normed = second.norm1(states)
    expected = second.self_attn(normed, normed, normed, attn_mask=causal(LENGTH))[1]
    torch.testing.assert_close(shown, torch.stack([expected[0, -1], expected[1, 3]]))
    torch.testing.assert_close(shown.sum(1), torch.ones(2, dtype=torch.float64))
    assert not shown[1, 4:].any()
