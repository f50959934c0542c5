"""One experiment file through all stages: sample, select, train, evaluate. Each is skipped when done, each resumes.

    run(config.load(Path("exp.yaml")))

Whether a stage is done is decided by what went into it, not by a flag: chains by their identities, a student by the
fingerprint of its chains and settings, predictions by the student's fingerprint and the way of decoding.
"""

from scotd.experiment.estimate import describe
from scotd.experiment.plan import Plan
from scotd.experiment.run import STAGES, Cell, Outcome, accuracy_line, afresh, run

__all__ = ["STAGES", "Cell", "Outcome", "Plan", "accuracy_line", "afresh", "describe", "run"]
