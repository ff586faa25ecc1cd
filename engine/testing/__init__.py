"""The contract suite: one plain function per promise of `Learner`, for every registered learner and for those of other packages.

In the tests of a package that brings a learner, three lines run all of it::

    from emotion_perception.engine.testing import Case, parametrize

    @parametrize(Case("smile", {"device": "cpu", "epochs": 3}))
    def test_contract(case, check, tmp_path):
        check(case, tmp_path)

``smile`` is the name of the entry point. The constructor arguments are those that make the learner fast to test and its training
deterministic: a small network, few epochs. A check is named ``smile-check_infer_batch_equals_singles``, so ``pytest -k`` finds it. A
promise that cannot be kept is said, not skipped: ``Case("smile", expected_failures={"check_optimize_is_used": "has loops"})`` expects the
failure, and complains once the check passes.

A learner for clips says how to make some; the checks that are about pictures are left out::

    @parametrize(Case("dialogue", {"device": "cpu", "width": 32}, clips=MadeUpClips))

``MadeUpClips(8)`` makes a data set of eight clips with small features, of which eight can be learnt; what it has to have, `Case` says.
"""

from emotion_perception.engine.testing.case import Case, DrawnFaces, Watched
from emotion_perception.engine.testing.suite import CHECKS, PICTURE_CHECKS, TRAINING_CHECKS, Check, parametrize

__all__ = ["CHECKS", "PICTURE_CHECKS", "TRAINING_CHECKS", "Case", "Check", "DrawnFaces", "Watched", "parametrize"]
