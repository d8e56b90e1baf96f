"""Reasons are part of the interface: all are described, none changes by accident."""

from __future__ import annotations

from pathlib import Path

from findling import archives, pictures
from findling.fetch import FetchOptions, reasons
from pictures import hostile

PAGE = (Path(__file__).resolve().parents[2] / "docs/fetching.md").read_text(encoding="utf-8")


def test_every_reason_and_every_key_is_described() -> None:
    known = {*reasons.ALL, *FetchOptions.__struct_fields__}
    for module in (pictures, archives):
        known |= {
            value
            for name, value in vars(module).items()
            if name.isupper() and not name.startswith("_") and isinstance(value, str)
        }
    assert sorted(word for word in known if f"`{word}`" not in PAGE) == []


def test_every_reason_of_a_hostile_picture_is_described() -> None:
    told = {reason for case in hostile.CASES.values() for reason in case.reasons}
    formats = {reason for reason in told if reason.endswith("is not taken")}
    assert sorted(reason for reason in told - formats if f"`{reason}`" not in PAGE) == []
    assert sorted(f for f in formats if f.removesuffix(" is not taken") not in PAGE) == []


def test_passing_reasons_are_reasons() -> None:
    assert reasons.PASSING < reasons.ALL
