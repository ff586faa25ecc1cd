"""The network's sizes, and what its answers may and may not depend on."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from emotion_perception.engine.errors import UsageError
from emotion_perception.learners.emotx.clips import STREAMS, Layout, collate
from emotion_perception.learners.emotx.model import build_network

NEAR = {"atol": 1e-5, "rtol": 1e-5}


def whole(**changes):
    """Makes a network of the published size without allocating it."""
    with torch.device("meta"):
        return build_network({"num_labels": 10, **changes})


def refilled(inputs, value: float):
    """Returns the inputs with other features and bins where there is only padding."""
    changed = [values.clone() for values in inputs]
    for stream in range(3):
        features, bins, padding = changed[3 * stream : 3 * stream + 3]
        features[padding] = value
        bins[padding] = 7
    return changed


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 8_166_410),
        ({"num_labels": 25}, 8_197_145),
        ({"num_labels": 26}, 8_199_194),
        ({"char_feat_dim": 4096}, 9_214_986),
        ({"char_feat_dim": 512}, 7_379_978),
        ({"scene_feat_dim": 2048}, 8_821_770),
    ],
    ids=["top10", "top25", "emotic", "emo faces", "generic faces", "resnet scenes"],
)
def test_it_has_the_published_number_of_parameters(changes, count):
    assert sum(p.numel() for p in whole(**changes).parameters()) == count


@pytest.mark.parametrize(("labels", "length"), [(10, 1850), (25, 1925), (26, 1930)])
def test_a_full_sequence_has_the_published_length(clips, labels, length):
    tokens = collate([clips[1]], Layout(24, 32, 40, full=True))
    network = build_network({"num_labels": labels, "hidden_dim": 8, "scene_feat_dim": 24, "char_feat_dim": 32, "srt_feat_dim": 40})
    inputs = tuple(torch.from_numpy(values) for values in tokens.inputs())
    assert network.sequence(*inputs)[0].shape == (1, length, 8)


def test_its_tensors_have_the_published_names():
    layer = ("self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight", "self_attn.out_proj.bias")
    parts = [f"{part}.{kind}" for part in ("linear1", "linear2", "norm1", "norm2") for kind in ("weight", "bias")]
    projections = [f"{part}_dim_reduction.{kind}" for part in ("scene", "char", "srt") for kind in ("weight", "bias")]
    tables = [f"{name}.weight" for name in ("type_emb", "char_emb", "cls_emb_srt", "cls_emb_scene", "cls_emb_char")]
    expected = {"positional_encoder.pe", "layer_norm.weight", "layer_norm.bias", *projections, *tables}
    expected |= {f"encoder.layers.{number}.{name}" for number in range(2) for name in (*layer, *parts)}
    expected |= {f"logits.{label}.{kind}" for label in range(10) for kind in ("weight", "bias")}
    state = whole().state_dict()
    assert set(state) == expected
    assert state["positional_encoder.pe"].shape == (1, 2187, 512)
    assert state["logits.9.weight"].shape == (1, 512)


def test_answers_have_a_row_per_clip_and_character_and_do_not_need_each_other(small, inputs):
    network = small()
    scene, characters = network(*inputs)
    assert (scene.shape, characters.shape) == ((2, 5), (2, 3, 5))
    for number in range(2):
        one = network(*(values[number : number + 1] for values in inputs))
        torch.testing.assert_close(one[0][0], scene[number], **NEAR)
        torch.testing.assert_close(one[1][0], characters[number], **NEAR)


@pytest.mark.parametrize("network", ["emotx", "emotx_1cls", "mlp", "single_encoder"])
@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_what_is_padded_changes_nothing(small, inputs, network, attention_dropout, training):
    model = small(network=network, attention_dropout=attention_dropout).train(training)
    answers = []
    for given in (inputs, refilled(inputs, 3.0), refilled(inputs, -1000.0)):
        torch.manual_seed(1)  # of dropout
        answers.append(model(*given))
    for other in answers[1:]:
        # Of a character who is not seen only the class tokens are there; the answer must not change either.
        assert torch.equal(other[0], answers[0][0])
        assert torch.equal(other[1], answers[0][1])


def test_padding_to_full_length_changes_nothing(small, clips, inputs):
    network = small()
    longer = collate(clips, Layout(24, 32, 40, characters=3, max_tokens=30, bins=50, full=True))
    expected, actual = network(*inputs), network(*(torch.from_numpy(values) for values in longer.inputs()))
    torch.testing.assert_close(actual, expected, **NEAR)


def test_gradients_do_not_come_from_padding(small, inputs):
    network = small().train()
    features = inputs[3].requires_grad_()
    torch.cat([part.flatten() for part in network(*inputs)]).sum().backward()
    assert not features.grad[inputs[5]].any()
    assert features.grad[~inputs[5]].abs().sum() > 0


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_fused_way_of_attention_and_the_plain_one_agree(small, inputs, training):
    network = small(dropout=0.0).train(training)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = network(*inputs)
    with sdpa_kernel(SDPBackend.MATH):
        plain = network(*inputs)
    torch.testing.assert_close(fused, plain, **NEAR)


def test_only_class_tokens_are_read_of_the_last_layer_and_only_they_are_computed(small, inputs):
    network = small()
    tokens, keys = network.sequence(*inputs)
    assert network.encoder(tokens, keys, 20).shape == (2, 20, 16)
    torch.testing.assert_close(network.encoder(tokens, keys, 20), network.encoder(tokens, keys, tokens.shape[1])[:, :20], **NEAR)


def test_characters_change_places_with_their_embedding_and_not_without(small, inputs):
    network, order = small(), torch.tensor([2, 0, 1])
    moved = [*inputs[:3], *(values[:, order] for values in inputs[3:6]), *inputs[6:]]
    scene, characters = network(*inputs)
    # Other characters get other embeddings: their answers change,
    assert (network(*moved)[1] - characters[:, order]).abs().max() > 0.01
    # but not if the embeddings move along.
    network.char_emb.weight.data = network.char_emb.weight.data[order]
    torch.testing.assert_close(network(*moved), (scene, characters[:, order]), **NEAR)


@pytest.mark.parametrize("network", ["emotx", "emotx_1cls"])
@pytest.mark.parametrize("streams", [("scene",), ("characters",), ("dialogue", "scene"), ("characters", "dialogue")], ids=" ".join)
def test_leaving_a_stream_out_is_masking_it(small, inputs, network, streams):
    masked = list(inputs)
    for number, name in enumerate(STREAMS):
        if name not in streams:
            masked[3 * number + 2] = torch.ones_like(inputs[3 * number + 2])
    complete, partial = small(network=network), small(network=network, streams=streams)
    partial.load_state_dict(complete.state_dict())
    torch.testing.assert_close(partial(*inputs), complete(*masked), **NEAR)
    assert partial.sequence(*inputs)[0].shape[1] < complete.sequence(*inputs)[0].shape[1]


@pytest.mark.parametrize("changes", [{}, {"streams": ("scene",)}, {"network": "emotx_1cls"}], ids=["all", "scene", "one token"])
def test_all_that_is_trained_gets_a_gradient(small, inputs, changes):
    network = small(**changes).train()
    torch.cat([part.flatten() for part in network(*inputs)]).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())] == []
    frozen = {name.partition(".")[0] for name, p in network.named_parameters() if not p.requires_grad}
    unused = {"char_dim_reduction", "srt_dim_reduction"} if "streams" in changes else set()
    assert frozen == unused | ({"cls_emb_srt"} if "network" not in changes else set())


@pytest.mark.parametrize(("network", "tokens"), [("emotx", 5), ("emotx_1cls", 1)])
def test_attention_sums_to_one_and_is_nothing_where_there_is_padding(small, inputs, network, tokens):
    model = small(network=network)
    attention, where = model.attention(*inputs), model.positions(*inputs)
    length = model.sequence(*inputs)[0].shape[1]
    assert attention.shape == (2, 4, 5, length)
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 4, 5))
    assert not attention[where.padding[:, None, None].expand_as(attention)].any()
    assert (attention[~where.padding[:, None, None].expand_as(attention)] > 0).all()
    # The class tokens come first, of the scene and then of each character.
    assert where.label[: 4 * tokens].tolist() == [*range(tokens)] * 4
    assert where.character[: 4 * tokens].tolist() == [owner for owner in range(-1, 3) for _ in range(tokens)]
    assert (where.label[4 * tokens :] == -1).all()
    bins = [values.flatten(1) for values in (inputs[1], inputs[4], inputs[7])]
    assert torch.equal(where.bins[:, 4 * tokens :], torch.cat(bins, dim=1))
    assert where.stream[4 * tokens :].tolist() == [number for number, each in enumerate(bins) for _ in range(each.shape[1])]
    assert where.character[4 * tokens + 11 : 4 * tokens + 38].tolist() == [person for person in range(3) for _ in range(9)]


def test_attention_is_that_of_torch_with_the_same_weights(small, inputs):
    network = small()
    tokens, keys = network.sequence(*inputs)
    before, last = network.encoder.before_last(tokens, keys), network.encoder.layers[-1].self_attn
    reference = torch.nn.MultiheadAttention(16, 8, batch_first=True)
    reference.load_state_dict(last.state_dict())
    expected, weights = reference(before[:, :20], before, before, key_padding_mask=~keys)
    torch.testing.assert_close(last(before, keys, 20), expected, **NEAR)
    torch.testing.assert_close(network.attention(*inputs).flatten(1, 2), weights, **NEAR)


def test_mixed_precision_answers_nearly_the_same(small, inputs):
    network = small()
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(*inputs)
    for a, b in zip(rough, network(*inputs), strict=True):
        assert (a.float() - b).abs().max() < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "emoty"}, "unknown network 'emoty'; did you mean 'emotx'"),
        ({"num_label": 3}, "unknown entry of the architecture 'num_label'; did you mean 'num_labels'"),
        ({"num_labels": 0}, "num_labels is 0, expected a whole number from 1"),
        ({"num_labels": None}, "num_labels is None"),
        ({"hidden_dim": 100}, "hidden_dim is 100, expected a multiple of 8"),
        ({"streams": ()}, "streams are .*, expected some of scene, characters, dialogue"),
        ({"judges": ("dialogue",)}, "judges are .*, expected some of scene, characters"),
    ],
)
def test_an_architecture_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        build_network({"num_labels": 10, **changes})
