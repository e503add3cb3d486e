"""Models by name, version and id."""

import pytest
from decant.bundles.names import ModelName, parse_name, version_key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lite", ModelName("lite")),
        ("lite@0.9", ModelName("lite", version="0.9")),
        ("lite@1.0.0-rc.1", ModelName("lite", version="1.0.0-rc.1")),
        ("lite@f8b691d4dbb05374", ModelName("lite", model_id="f8b691d4dbb05374")),
        ("lite@12345678", ModelName("lite", model_id="12345678")),
        ("lite@1234567", ModelName("lite", version="1234567")),
        ("./lite", None),
        ("./lite@0.9", None),
        ("lite@", None),
        ("lite@../x", None),
        ("@0.9", None),
        ("LITE@0.9", None),
    ],
)
def test_what_is_asked_for(text: str, expected: ModelName | None) -> None:
    assert parse_name(text) == expected


def test_a_version_takes_those_that_begin_with_it() -> None:
    asked = ModelName("lite", version="0.9")
    assert asked.takes("0.9")
    assert asked.takes("0.9.1")
    assert not asked.takes("0.90.0")
    assert not asked.takes("1.0.9")
    assert ModelName("lite").takes("anything")


def test_versions_are_ordered_by_number() -> None:
    versions = ["1.0.1", "0.10.0", "1.0.0", "0.9.0", "1.0.rc1", "0.10.1"]
    assert sorted(versions, key=version_key) == ["0.9.0", "0.10.0", "0.10.1", "1.0.rc1", "1.0.0", "1.0.1"]
