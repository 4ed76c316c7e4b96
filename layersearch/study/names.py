"""Names of studies: they become folders, database rows, text on a terminal; so they stay tame."""

import re

from layersearch.errors import StudyError

LONGEST = 100  # characters; and 200 bytes in UTF-8, well under a file system's 255
_ALLOWED = re.compile(r"\w[\w .+=@-]*")


def check_study_name(name: str) -> str:
    """`name` itself, if it is safe as the name of a folder and of a study.

    Raises:
        StudyError: it is empty, too long, leads out of its folder (`../x`, `a/b`), holds control or
            formatting characters, or begins or ends with a dot or a space.
    """
    reason = _why_unsafe(name)
    if reason:
        shown = ascii(name if len(name) <= LONGEST else name[:LONGEST] + "…")
        raise StudyError(
            f"study.name: {reason} ({shown}); use letters, digits, '_', '-', '.', '+', '=', '@' "
            f"and spaces, beginning with a letter or digit, at most {LONGEST} characters"
        )
    return name


def _why_unsafe(name: str) -> str:
    if not name.strip():
        return "it is empty"
    if len(name) > LONGEST or len(name.encode("utf-8", "surrogatepass")) > 2 * LONGEST:
        return f"it is too long, {len(name)} characters"
    if "/" in name or "\\" in name or ".." in name:
        return "it would lead to another folder"
    if not _ALLOWED.fullmatch(name):
        return "it holds a character that is not allowed"
    if name[-1] in ". ":
        return "it ends with a dot or a space"
    return ""
