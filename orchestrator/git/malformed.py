"""What git's own check (`fsck`) finds in the objects that are fetched, judged: what only warns, what ends the fetch.

Old commits hold what old programs wrote. GitHub serves them, every clone takes them, and nobody can mend them without
another name for each commit since: a repository that has one would never be served. So what cannot do harm is let
through, and only in what is fetched. What an agent made is checked with nothing let through (`staging`) but attributes
that git passes over: for these git looks into files that stood there before, too.

Every check of git 2.39 that can fail on what a clone takes is in one of the two tables; what git only tells of anyway
(`badFilemode`, `badTagName`, ...) is in none. No newer check is let through: an older git would complain of its name.
"""

from __future__ import annotations

_ATTRIBUTES = ("gitattributesBlob", "gitattributesLarge", "gitattributesLineLength")
# By what makes them harmless.
_LET_THROUGH = {
    # Work follows parents and trees; who and when is only shown.
    "who wrote a commit or tag, and when, is not written as it should be": (
        *("missingNameBeforeEmail", "missingEmail", "missingSpaceBeforeEmail", "badName", "badEmail"),
        *("missingSpaceBeforeDate", "badDate", "badDateOverflow", "zeroPaddedDate", "badTimezone"),
        *("missingAuthor", "missingCommitter", "multipleAuthors"),
    ),
    "the rest of a message is not shown": ("nulInCommit",),
    # A diff visits every entry of a tree, so nothing hides in a second one or in a wrong place.
    "a folder's entries are there, in another spelling or order": (
        *("zeroPaddedFilemode", "treeNotSorted", "duplicateEntries"),
    ),
    "a submodule's commit is named by zeros: there is nothing to fetch": ("nullSha1",),
    # The overflow that they guard against is closed in every git that makes these checks.
    "git passes over such attributes": _ATTRIBUTES,
}
HARMLESS = tuple(check for checks in _LET_THROUGH.values() for check in checks)
STRICT = "--strict=" + ",".join(f"{check}=warn" for check in _ATTRIBUTES)  # for `git index-pack`

_LEADS_OUT = "a name in it leads out of its folder or to git's own files"
_STEERS = "what is called `.gitmodules` there could run a program or write to another place"
_UNREADABLE = "git cannot read all of it, and lets nobody pass over that"
REFUSED = {
    **dict.fromkeys(("hasDot", "hasDotdot", "hasDotgit", "fullPathname", "emptyName"), _LEADS_OUT),
    **dict.fromkeys(("gitmodulesName", "gitmodulesUrl", "gitmodulesPath", "gitmodulesUpdate"), _STEERS),
    **dict.fromkeys(("gitmodulesSymlink", "gitmodulesBlob", "gitmodulesLarge", "gitmodulesMissing"), _STEERS),
    **dict.fromkeys(("nulInHeader", "unterminatedHeader"), _UNREADABLE),
    "largePathname": "a name in it is longer than any file system takes",
}


def why(check: str) -> str:
    """What is wrong with an object that a check refuses, in words."""
    return REFUSED.get(check, "git calls it malformed")
