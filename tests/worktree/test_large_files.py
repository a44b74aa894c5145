"""Git LFS in a worktree: contents where people work, pointers in commits, and a server that may fail or lie."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator import housekeeping, salvaged
from orchestrator.clock import Stop, SystemClock
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.git import lfs_transfer
from orchestrator.git.access import Access
from orchestrator.git.lfs import Pointer, Store
from orchestrator.git.lfs_transfer import LfsServer, end_all
from orchestrator.git.mirror import Mirror, Pushed
from orchestrator.git.worktree import Collected, Worktree
from orchestrator.sandbox import OPEN
from orchestrator.slots import Slots
from orchestrator.twin import Fault, Twin, cut, reset, status
from orchestrator.twin.faults import Kind
from orchestrator.twin.handles import RepoHandle
from orchestrator.twin.say import Person
from tests.gitremote import BOT, run_git
from tests.needs import needs
from tests.sizes import seeds
from tests.worktree.looking import BRANCH

pytestmark = needs("git-lfs")

LFS = "filter=lfs diff=lfs merge=lfs -text"
OLD = b"\0old\r\n" * 500
DAY = 86400.0


def pointer(content: bytes) -> Pointer:
    return Pointer(hashlib.sha256(content).hexdigest(), len(content))


class Hub:
    """A repository of one seed on the local GitHub, and the mirror of it."""

    def __init__(self, twin: Twin, name: str, folder: Path) -> None:
        self.twin = twin
        self.repo: RepoHandle = twin.repo(f"acme/{name}", files={"a.txt": "a\n"})
        self.token = twin.token(twin.user(f"robot-{name}", self.repo, permission="write"))
        self.alice: Person = twin.user(f"alice-{name}", self.repo, permission="write")
        self.objects = twin.large_files(self.repo)
        self.access = Access(self.repo.clone_url, self.token)
        self.mirror = Mirror(folder / "work" / "mirror.git", self.access, BOT, sandbox=OPEN)
        self.mirror.ensure()

    def keeps(self, *contents: bytes) -> None:
        for content in contents:
            (self.objects / pointer(content).oid).write_bytes(content)

    def tree(self, files: Mapping[str, Any], name: str = "issue-1") -> Worktree:
        """A worktree of the main branch with these files on it."""
        self.alice.pushes(self.repo, "main", dict(files))
        self.mirror.fetch("refs/heads/main")
        tree = Worktree(self.mirror, self.mirror.base / name)
        tree.create(str(self.mirror.sha("refs/remotes/origin/main")), BRANCH, "main")
        return tree

    def push(self, made: Collected) -> None:
        LfsServer(made.server, self.access).send(made.large, BRANCH, self.mirror.large)
        assert self.mirror.push(made.head, BRANCH, None) is Pushed.DONE

    def requests(self) -> list[str]:
        return [f"{e.method} {e.path}" for e in self.twin.journal.exchanges if f"/{self.repo.name}" in e.path]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with Twin(tmp_path_factory.mktemp("twin")) as twin:
        yield twin


@pytest.fixture
def hub(twin: Twin, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hub]:
    yield Hub(twin, f"r{abs(hash(request.node.name))}", tmp_path)
    twin.faults.clear()


def tracked(hub: Hub, **more: Any) -> Worktree:
    """A worktree in which `model.bin` is in Git LFS."""
    hub.keeps(OLD)
    return hub.tree({".gitattributes": f"*.bin {LFS}\n", "model.bin": pointer(OLD).text.decode(), **more})


NAMES = ("a.bin", "d/b.bin", "d/e/c.dat", "n.txt", "d/n.txt")
RULES = (f"*.bin {LFS}", f"*.dat {LFS}", f"d/** {LFS}", "*.txt -text", "*.bin !filter", f"[attr]big {LFS}", "e/ big")


@pytest.mark.parametrize("seed", seeds(3, 30))
def test_case_04_a_clone_with_git_lfs_has_what_was_written(twin: Twin, tmp_path: Path, seed: int) -> None:
    """What an ordinary clone checks out of the pushed branch is what stood in the worktree, byte for byte."""
    chance = random.Random(seed)
    hub = Hub(twin, f"seed-{seed}", tmp_path)
    rules = "".join(f"{one}\n" for one in chance.sample(RULES, 4))
    contents = (b"", b"text\n", b"x\r\ny\n", OLD, chance.randbytes(1500), pointer(OLD).text)
    hub.keeps(OLD, b"text\n")
    stored = (b"text\n", pointer(OLD).text, pointer(b"text\n").text)
    files = {name: chance.choice(stored) for name in NAMES if chance.random() < 0.6}
    tree = hub.tree({".gitattributes": rules, **files})
    assert tree.modified() == ([], b"")
    for _ in range(chance.randrange(1, 4)):
        for name in chance.sample((*NAMES, "d/new.bin", "e/f.dat", "m.bin"), 3):
            file = tree.path / name
            if chance.random() < 0.2:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(chance.choice(contents))
                file.chmod(chance.choice((0o644, 0o755)))
        if chance.random() < 0.3:
            (tree.path / ".gitattributes").write_text("".join(f"{one}\n" for one in chance.sample(RULES, 4)))
        if chance.random() < 0.4:
            run_git("add", "-A", cwd=tree.path)
            run_git("commit", "-q", "--allow-empty", "-m", "mine", cwd=tree.path)
    there = _on_disk(tree.path)
    made = tree.collect("x")
    if made.head == hub.mirror.sha("refs/remotes/origin/main"):
        return
    hub.push(made)
    clone = tmp_path / "clone"
    url = hub.repo.clone_url.replace("://", f"://x:{hub.token}@")
    words = (f"filter.lfs.{word}" for word in ("smudge=git-lfs smudge -- %f", "clean=git-lfs clean -- %f"))
    given = [part for word in (*words, "filter.lfs.required=true") for part in ("-c", word)]
    run_git(*given, "clone", "-q", "-b", BRANCH, url, str(clone), cwd=tmp_path)
    found = _on_disk(clone)
    for path in {*there, *found}:
        if there.get(path) != found.get(path):  # who wrote a pointer gets its content
            assert there[path] == (pointer(found[path][0]).text, found[path][1]), (rules, path)
    for path, one in made.large:
        assert (hub.objects / one.oid).stat().st_size == one.size, path


def _on_disk(top: Path) -> dict[str, tuple[bytes, bool]]:
    files = (file for file in top.rglob("*") if file.is_file() and ".git" not in file.relative_to(top).parts)
    return {str(file.relative_to(top)): (file.read_bytes(), bool(file.stat().st_mode & 0o100)) for file in files}


def test_case_04_a_repository_without_filters_costs_nothing(hub: Hub) -> None:
    tree = hub.tree({".gitattributes": "*.txt text\n", "x.bin": pointer(OLD).text.decode()})
    (tree.path / "y.bin").write_bytes(OLD)
    made = tree.collect("x")
    assert (made.server, made.large, made.filtered) == ("", (), False)
    assert not hub.mirror.large.folder.exists()
    assert not [one for one in hub.requests() if "/info/lfs/" in one]


@pytest.mark.parametrize("kind", [status(404), status(401), status(403), status(410), status(501), status(302)])
def test_case_04_where_no_content_can_be_had_the_pointer_stays(hub: Hub, kind: Kind) -> None:
    hub.twin.faults.add(Fault("POST *objects/batch", kind, times=99))
    tree = tracked(hub)
    assert (tree.path / "model.bin").read_bytes() == pointer(OLD).text
    (tree.path / "a.txt").write_text("more\n")
    assert tree.collect("x").large == ()
    (tree.path / "model.bin").write_bytes(b"new")
    made = tree.collect("y")
    with pytest.raises(Refused, match=f"The Git LFS server answered {kind.code}"):
        hub.push(made)


def test_case_04_an_object_that_the_server_lacks_leaves_its_pointer(hub: Hub) -> None:
    tree = tracked(hub, **{"lost.bin": pointer(b"lost").text.decode()})
    assert (tree.path / "lost.bin").read_bytes() == pointer(b"lost").text
    assert (tree.path / "model.bin").read_bytes() == OLD
    (tree.path / "copy.bin").write_bytes(pointer(b"gone").text)
    with pytest.raises(Refused, match=r"neither on the server nor in the\s+worktree"):
        hub.push(tree.collect("x"))


@pytest.mark.parametrize("content", [b"y" * len(OLD), OLD + b"more" * 1_000_000, OLD[:100]])
def test_case_04_content_that_is_not_the_objects_is_not_taken(hub: Hub, content: bytes) -> None:
    hub.twin.before("GET *info/lfs*", lambda: (hub.objects / pointer(OLD).oid).write_bytes(content))
    tree = tracked(hub)
    assert (tree.path / "model.bin").read_bytes() == pointer(OLD).text
    assert list(hub.mirror.large.folder.rglob("*.new*")) == []
    assert not hub.mirror.large.has(pointer(OLD))


@pytest.mark.parametrize("kind", [cut(), reset(), status(503)])
def test_case_04_a_download_that_breaks_off_is_tried_again(hub: Hub, kind: Kind) -> None:
    hub.twin.faults.add(Fault("GET *info/lfs*", kind))
    with pytest.raises(Retry, match="Git LFS server"):
        tracked(hub)
    tree = Worktree(hub.mirror, hub.mirror.base / "issue-1")
    tree.create(str(hub.mirror.sha("refs/remotes/origin/main")), BRANCH, "main")
    assert (tree.path / "model.bin").read_bytes() == OLD


@pytest.mark.parametrize(
    "match", ["PUT *info/lfs*", "POST *objects/verify", "POST *objects/batch", "POST *locks/verify"]
)
@pytest.mark.parametrize("kind", [reset(), cut(), status(502)])
def test_case_04_an_upload_that_dies_is_tried_again(hub: Hub, match: str, kind: Kind) -> None:
    tree = tracked(hub)
    (tree.path / "new.bin").write_bytes(b"new" * 100_000)
    made = tree.collect("x")
    hub.twin.faults.add(Fault(match, kind))
    try:
        hub.push(made)
        assert kind == cut()  # the head of an answer to an upload says all
        assert match in ("PUT *info/lfs*", "POST *objects/verify")
    except Retry:
        hub.push(made)
    assert (hub.objects / pointer(b"new" * 100_000).oid).read_bytes() == b"new" * 100_000


def test_case_04_a_stop_ends_a_transfer_at_its_next_byte(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tracked(hub)
    (tree.path / "a.bin").write_bytes(b"a")
    made = tree.collect("x")
    server = LfsServer(made.server, hub.access)

    def meanwhile(_: Store, one: Pointer) -> Iterator[bytes]:
        end_all()
        yield b"a" * one.size

    hub.keeps(b"more")
    halted = Slots(SystemClock(), Stop(), lambda: None)
    for match in ("POST *objects/batch", "GET *info/lfs*"):
        hub.twin.before(match, lambda: halted.end(lambda _: []))
        with pytest.raises(Stopped, match="large files"):
            server.fetch([pointer(b"more")], hub.mirror.large)
    assert not hub.mirror.large.has(pointer(b"more"))
    for match in ("POST *locks/verify", "POST *objects/batch"):
        hub.twin.before(match, end_all)
        with pytest.raises(Stopped, match="large files"):
            hub.push(made)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "pieces", meanwhile)
        with pytest.raises(Stopped, match="large files"):
            hub.push(made)
    assert not (hub.objects / pointer(b"a").oid).exists()
    hub.push(made)


def test_case_04_a_transfer_that_takes_too_long_is_tried_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tracked(hub)
    (tree.path / "a.bin").write_bytes(b"a")
    made = tree.collect("x")
    hub.keeps(b"more")
    monkeypatch.setattr(lfs_transfer, "_AT_LEAST", -3600.0)
    with pytest.raises(Retry, match="took more than"):
        LfsServer(made.server, hub.access).fetch([pointer(b"more")], hub.mirror.large)
    with pytest.raises(Retry, match="took more than"):
        hub.push(made)
    assert not (hub.objects / pointer(b"a").oid).exists()


LIES: list[Any] = [
    *([], {}, 1, None, {"objects": None}, {"objects": [1]}, {"objects": [{}]}),
    *({"actions": {"download": 1}}, {"actions": {"download": {}}}),
    *({"actions": {"download": {"href": one}}} for one in (1, "http://[", "x", "ftp://x/y")),
    {"actions": {"download": {"href": "http://127.0.0.1/", "header": 1}}},
    {"actions": 1},
    {"actions": []},
    {"actions": None},
    {"error": 1},
    {"error": {"code": "x", "message": ["y"]}},
]


@pytest.mark.parametrize("lie", LIES, ids=json.dumps)
def test_case_04_an_answer_that_makes_no_sense_is_no_crash(hub: Hub, lie: Any) -> None:
    of_one = isinstance(lie, dict) and "objects" not in lie
    told = {"objects": [{"oid": pointer(OLD).oid, "size": len(OLD), **lie}]} if of_one else lie
    for where in ("objects/batch", "locks/verify"):
        hub.twin.faults.add(Fault(f"POST *{where}", status(200, told), times=2))
    server = LfsServer(f"{hub.repo.clone_url}/info/lfs", hub.access)
    with suppress(Retry, Refused):
        server.fetch([pointer(OLD)], hub.mirror.large)
    with suppress(Retry, Refused):
        server.send([("model.bin", pointer(OLD))], BRANCH, hub.mirror.large)
    assert not hub.mirror.large.has(pointer(OLD))


def test_case_04_an_address_that_the_server_names_gets_no_token_of_ours(hub: Hub, tmp_path: Path) -> None:
    with Twin(tmp_path / "elsewhere") as elsewhere:
        there = elsewhere.repo("acme/app").clone_url
        for at in (there, hub.repo.clone_url):
            told = {"download": {"href": f"{at}/info/lfs/objects/{pointer(OLD).oid}"}}
            lie = {"objects": [{"oid": pointer(OLD).oid, "size": len(OLD), "actions": told}]}
            hub.twin.faults.add(Fault("POST *objects/batch", status(200, lie)))
            hub.keeps(OLD)
            LfsServer(f"{hub.repo.clone_url}/info/lfs", hub.access).fetch([pointer(OLD)], hub.mirror.large)
        assert elsewhere.journal.exchanges == []
    assert [e.login for e in hub.twin.journal.exchanges if e.path.endswith(pointer(OLD).oid)][-1:] == [""]
    assert not hub.mirror.large.has(pointer(OLD))


def test_case_04_what_somebody_else_has_locked_is_not_pushed(hub: Hub) -> None:
    tree = tracked(hub)
    hub.twin.lock_large_file(hub.repo, "model.bin", hub.alice.login)
    (tree.path / "new.bin").write_bytes(b"new")
    hub.push(tree.collect("x"))
    (tree.path / "model.bin").write_bytes(b"changed")
    with pytest.raises(Refused, match=r"locked `model.bin` in Git LFS"):
        hub.push(tree.collect("y"))
    assert not (hub.objects / pointer(b"changed").oid).exists()


@pytest.mark.parametrize("path", ["/acme/other.git/info/lfs", "", "/info/lfs"])
def test_case_04_an_lfsconfig_leads_nothing_elsewhere(hub: Hub, path: str) -> None:
    told = (
        f"{hub.repo.clone_url.removesuffix('.git')}{path}"
        if path != "/acme/other.git/info/lfs"
        else (hub.repo.clone_url.rsplit("/", 2)[0] + path)
    )
    tree = tracked(hub, **{".lfsconfig": f"[lfs]\n\turl = {told}\n[include]\n\tpath = /etc/passwd\n"})
    there = (tree.path / "model.bin").read_bytes()
    (tree.path / "new.bin").write_bytes(b"new")
    made = tree.collect("x")
    if path == "/info/lfs":
        assert there == OLD
        assert made.server
    else:
        assert there == pointer(OLD).text
        assert made.server == ""
        assert not [e for e in hub.requests() if "info/lfs" in e]


def test_case_04_a_malformed_pointer_is_content(hub: Hub) -> None:
    bad = {f"{n}.bin": text for n, text in enumerate(MALFORMED)}
    tree = tracked(hub, **bad)
    assert {path: (tree.path / path).read_text() for path in bad} == bad
    assert tree.modified() == ([], b"")
    (tree.path / "0.bin").write_text("fresh")
    made = tree.collect("x")
    assert hub.mirror.text(made.head, "0.bin") == pointer(b"fresh").text.decode()
    assert hub.mirror.text(made.head, "1.bin") == bad["1.bin"]


GOOD = pointer(OLD).text.decode()
MALFORMED = (
    GOOD.replace("sha256", "sha1"),
    GOOD.replace("size ", "size -"),
    GOOD.replace("oid sha256:", "oid sha256:../../../"),
    GOOD.replace("spec/v1", "spec/v9"),
    GOOD + "x" * 2000,
    GOOD.splitlines()[0],
    GOOD.replace("size", "size 9" + "9" * 40 + "\nsize"),
)


def test_case_04_what_no_server_takes_is_refused_by_its_size(hub: Hub) -> None:
    tree = tracked(hub)
    with (tree.path / "big.bin").open("wb") as file:
        file.truncate(2_000_000_001)
    with pytest.raises(Refused, match=r"`big.bin` is 2.0 GB, more than the 2 GB"):
        tree.collect("x")
    assert hub.mirror.large.path(pointer(OLD)).exists()
    assert len(list(hub.mirror.large.folder.rglob("*"))) == 4


def test_case_04_a_mode_is_a_change_of_its_own(hub: Hub) -> None:
    tree = tracked(hub)
    (tree.path / "model.bin").chmod(0o755)
    assert tree.modified()[0] == ["model.bin"]
    made = tree.collect("x")
    listed = hub.mirror.call("ls-tree", made.head, "model.bin").text
    assert listed.startswith("100755")
    assert hub.mirror.text(made.head, "model.bin") == pointer(OLD).text.decode()


@pytest.mark.parametrize("link", ["lfs", "lfs/objects", "lfs/objects/aa", "lfs/objects/aa/bb", ""])
def test_case_04_no_link_shows_an_object_of_elsewhere(hub: Hub, tmp_path: Path, link: str) -> None:
    tree = tracked(hub)
    elsewhere = Store(tmp_path / "lfs")
    secret = elsewhere.add([b"another repository's"])
    assert secret
    (tree.path / "asked.bin").write_bytes(secret.text)
    run_git("add", "-A", cwd=tree.path)
    run_git("commit", "-qm", "mine", cwd=tree.path)
    link = link.replace("aa", secret.oid[:2]).replace("bb", secret.oid[2:4])
    theirs = tree.path / ".git" / (link or elsewhere.path(secret).relative_to(tmp_path))
    shutil.rmtree(theirs, ignore_errors=True)
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.symlink_to(elsewhere.folder.parent / theirs.relative_to(tree.path / ".git"))
    made = tree.collect("x")
    assert secret in [one for _, one in made.large]
    assert not hub.mirror.large.has(secret)


def test_case_04_salvage_has_pointers_and_what_is_restored_their_contents(hub: Hub, tmp_path: Path) -> None:
    tree = tracked(hub)
    (tree.path / "model.bin").write_bytes(b"changed")
    (tree.path / "model.bin").chmod(0o755)
    run_git("add", "-A", cwd=tree.path)
    run_git("commit", "-qm", "mine", cwd=tree.path)
    (tree.path / "new.bin").write_bytes(b"new")
    saved = tree.save("issue-1")
    assert saved
    for path, content in {"model.bin": b"changed", "new.bin": b"new"}.items():
        assert hub.mirror.text(saved, path) == pointer(content).text.decode()
        assert hub.mirror.large.has(pointer(content))
    [kept] = salvaged.find(hub.mirror.base.parent, [hub.mirror.base.name])
    assert salvaged.restore(kept, tmp_path / "back") == []
    for path, (content, executable) in {"model.bin": (b"changed", True), "new.bin": (b"new", False)}.items():
        assert (tmp_path / "back" / path).read_bytes() == content
        assert os.access(tmp_path / "back" / path, os.X_OK) is executable
    hub.mirror.large.path(pointer(b"new")).unlink()
    assert salvaged.restore(kept, tmp_path / "again") == ["new.bin"]
    assert (tmp_path / "again" / "new.bin").read_bytes() == pointer(b"new").text


def test_housekeeping_takes_large_files_that_nothing_uses(hub: Hub) -> None:
    tree = tracked(hub)
    store, now = hub.mirror.large, time.time()
    unused = store.add([b"unused"])
    assert unused
    left = store.folder / ".new-left"
    left.touch()
    for file in (store.path(unused), left, store.path(pointer(OLD))):
        os.utime(file, (now - 40 * DAY, now - 40 * DAY))
    tree.create(str(hub.mirror.sha("refs/remotes/origin/main")), BRANCH, "main")
    later = housekeeping.collect(hub.mirror.base, hub.mirror, ["issue-1"], now + 20 * DAY, 14, now)
    assert later.gone[0] == "2 large files", later
    assert store.has(pointer(OLD))
    tree.remove()
    assert housekeeping.collect(hub.mirror.base, hub.mirror, [], now + 20 * DAY, 14, now).gone[0] == "1 large files"
    assert not store.has(pointer(OLD))


def test_of_an_object_no_more_is_taken_than_its_size(tmp_path: Path) -> None:
    rest = iter([b"x" * 100] * 1000)
    assert Store(tmp_path).add(rest, Pointer("0" * 64, 250)) is None
    assert len(list(rest)) == 997
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_room_is_not_brought(hub: Hub) -> None:
    huge = Pointer("0" * 64, 10**17)
    tree = tracked(hub, **{"huge.bin": huge.text.decode()})
    assert (tree.path / "huge.bin").read_bytes() == huge.text
    assert not [e for e in hub.requests() if "info/lfs" in e]
