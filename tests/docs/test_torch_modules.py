"""The table of torch's layers: complete, as it is found by trying, and right where we know the answer."""

from __future__ import annotations

from docs.site import torch_modules


def test_every_layer_of_torch_has_a_place() -> None:
    assert sorted(name for layers in torch_modules.FAMILIES.values() for name, _, _ in layers) == torch_modules.kinds()


def test_the_page_says_what_is_found() -> None:
    page = torch_modules.PAGE.read_text()
    assert torch_modules.filled(page) == page


def test_what_is_found_is_known_elsewhere() -> None:
    cases = {name: (arguments, given) for layers in torch_modules.FAMILIES.values() for name, arguments, given in layers}
    found = {name: torch_modules.tried(name, *cases[name]) for name in ("Linear", "LSTM", "LayerNorm", "GELU", "Softmax")}
    assert found == {
        "Linear": ("weight", "`GBPLinear`", "yes"),
        "LSTM": ("weight_ih_l0, weight_hh_l0", "", "no"),
        "LayerNorm": ("", "", "yes"),
        "GELU": ("", "`GBPActivation`", "yes"),
        "Softmax": ("", "", "no"),
    }
