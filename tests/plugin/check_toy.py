"""What the author of a package with a learner writes to have it checked; the file is not named test_*, as the toy is not installed here."""

from emotion_perception.engine.testing import Case, parametrize


@parametrize(Case("toy", {"device": "cpu", "epochs": 3}, epochs=3))
def test_contract(case, check, tmp_path):
    check(case, tmp_path)
