"""What is read out of a request before anything is searched."""

from __future__ import annotations

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from findling.serve.requests import parameters_of


@given(
    st.lists(st.sampled_from(["%20", "%", "20", "+", "&", "=", "%2", "0", "q", "%e2%82%ac", "%C3", "\xe9"]))
)
def test_parameters_are_those_that_any_parser_finds(parts: list[str]) -> None:
    text = "".join(parts)
    request = Request({"type": "http", "query_string": text.encode("latin-1")})
    assert parameters_of(request) == dict(parse_qsl(text, keep_blank_values=True))
