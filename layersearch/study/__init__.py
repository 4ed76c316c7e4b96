"""The Optuna study: its storage, lease and fingerprint, and its trials as records."""

from layersearch.study.fingerprint import Fingerprint, stored_fingerprint
from layersearch.study.history import history, trial_record
from layersearch.study.lease import Lease
from layersearch.study.names import check_study_name
from layersearch.study.opening import OpenStudy, open_study, read_study
from layersearch.study.plan import check_plan, keep_plan
from layersearch.study.storages import MEMORY, masked, open_storage, resolve_storage
from layersearch.study.waiting import wait_for_study

__all__ = [
    "MEMORY",
    "Fingerprint",
    "Lease",
    "OpenStudy",
    "check_plan",
    "check_study_name",
    "history",
    "keep_plan",
    "masked",
    "open_storage",
    "open_study",
    "read_study",
    "resolve_storage",
    "stored_fingerprint",
    "trial_record",
    "wait_for_study",
]
