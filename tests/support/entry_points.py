"""What an entry point answered."""

from __future__ import annotations

Answer = tuple[int, str]


def expect_told(answer: Answer, *told: str) -> None:
    code, err = answer
    assert code == 2, err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for word in told:
        assert word in lines[0]
