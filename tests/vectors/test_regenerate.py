from tests.vectors.generate import PATH, build, render


def test_vectors_regenerate_equal() -> None:
    assert render(build()) == PATH.read_text(encoding="utf-8")


def test_vectors_stay_small() -> None:
    assert PATH.stat().st_size < 1_000_000
