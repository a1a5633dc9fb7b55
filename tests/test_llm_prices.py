"""What a call costs, and when that is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelsift.llm.prices import Price, cost, from_list, from_models
from kernelsift.llm.reply import Usage

OPENAI = "https://api.openai.com/v1"


def test_cached_tokens_are_priced_apart_and_reasoning_is_output():
    usage = Usage(1_000_000, 500_000, cached_tokens=400_000, reasoning_tokens=300_000)
    assert Price(2.0, 8.0, cached=0.5).usd(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 4)


def test_without_a_cached_price_cached_tokens_cost_as_much_as_others():
    assert Price(2.0, 8.0).usd(Usage(1_000_000, cached_tokens=1_000_000)) == 2.0


def test_writing_a_cache_may_cost_more():
    price = Price(2.0, 8.0, cache_write=2.5)
    assert price.usd(Usage(1_000_000, cache_write_tokens=1_000_000)) == 2.5


def test_an_unknown_price_is_none_and_not_zero():
    assert cost(Usage(10, 10), None) == (None, "")
    assert cost(None, Price(1, 1)) == (None, "")


def test_the_services_own_figure_wins():
    assert cost(Usage(10, 10, cost_usd=0.5), Price(1, 1)) == (0.5, "response")


@given(
    st.text(max_size=200),
    st.integers(1, 1000),
    st.builds(Price, *[st.floats(0, 100)] * 4),
    st.floats(0, 1),
)
def test_the_worst_case_is_never_passed(text, most, price, share):
    size = len(text.encode())
    tokens = int(size * share)
    usage = Usage(tokens, most, cached_tokens=tokens // 2, cache_write_tokens=tokens // 3)
    assert price.usd(usage) <= price.worst(size, most) + 1e-12


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_price_is_a_finite_number_from_zero(value):
    with pytest.raises(ValueError, match="not a price"):
        Price(value, 1.0)


@pytest.mark.parametrize("value", ["-1", "free", None, True, [], "nan"])
def test_a_listing_without_a_usable_price_gives_none(value):
    listing = [{"id": "m", "pricing": {"prompt": value, "completion": "0.1"}}]
    assert from_models(listing, "m") is None


@pytest.mark.parametrize("models", [[], ["m"], [{"id": "other"}], [{"id": "m", "pricing": 3}]])
def test_a_listing_without_the_model_gives_none(models):
    assert from_models(models, "m") is None


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (OPENAI, "gpt-5.2"),
        ("https://api.pinference.ai/api/v1", "openai/gpt-5.2"),
        ("https://openrouter.ai/api/v1", "openai/gpt-5.2"),
    ],
)
def test_a_hosted_model_has_its_list_price(base_url, model):
    price = from_list(base_url, model)
    assert price is not None
    assert (price.input, price.output) == pytest.approx((1.75, 14.0))
    assert price.cached == pytest.approx(0.175)
    assert price.source == "list"


@pytest.mark.parametrize(
    "base_url", ["http://localhost:8000/v1", "http://127.0.0.1:8000/v1", "http://gpu-box/v1"]
)
def test_a_model_on_ones_own_machine_is_not_priced_by_its_name(base_url):
    assert from_list(base_url, "gpt-5.2") is None


def test_the_list_price_holds_anywhere_if_the_user_says_so():
    assert from_list("http://localhost:8000/v1", "gpt-5.2", any_host=True) is not None


def test_a_model_nobody_knows_has_no_list_price():
    assert from_list(OPENAI, "no-such-model-at-all") is None
