"""Hub: an adapter's directory in a repository of the hub, downloaded again and compared.

Nothing is sent but to the repository that was named, and nothing before it is known to be the
user's, and empty, or free to be replaced.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelInfo,
    hf_hub_download,
)
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from tenon.core.errors import FileError, PlanError
from tenon.core.files import digest

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
OF_THE_HUB = frozenset({".gitattributes"})
SHOWN_FILES = 3
MESSAGE = "Upload with Tenon"
UNREACHED: tuple[type[Exception], ...] = (
    # The error of the library's HTTP client, whichever that is.
    next(each for each in HfHubHTTPError.__mro__[1:] if each.__name__ == "HTTPError"),  # pyright: ignore[reportAssignmentType]
    OSError,
    ValueError,
    RuntimeError,
)
"""What it means that the hub was not reached, or broke off."""


@dataclass(frozen=True)
class Uploaded:
    """What lies on the hub.

    Args:
        commit: that was made; where nothing had changed, the one that was there.
        private: whether others cannot see the repository.
        changed: whether anything was sent.
        removed: files of the repository that are no longer in it.
    """

    commit: str
    private: bool
    changed: bool
    removed: tuple[str, ...] = ()


class Hub:
    """The hub, as the user's token opens it.

    Args:
        endpoint: its URL; that of the environment by default.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.api = HfApi(endpoint=endpoint, library_name="tenon")

    @property
    def endpoint(self) -> str:
        """The hub's URL."""
        return self.api.endpoint

    def upload(
        self, files: Mapping[str, Path], repo: str, *, public: bool, replace: bool
    ) -> Uploaded:
        """Put files into a repository, download them again, and compare.

        Args:
            files: name to where it lies.
            repo: `owner/name`; it is made where it is not there.
            public: whether others may see it.
            replace: whether what it holds otherwise may be overwritten and removed.

        Raises:
            PlanError: the name is no repository's, or not one that the user may write to; or it
                holds other files, or is public, and neither was allowed. Nothing was sent.
            FileError: there is no token, the hub cannot be reached or refuses, or what it gives
                back is not what was sent. A repository that was made for it stays.
        """
        if not REPO.fullmatch(repo):
            raise PlanError(f"--repo {repo}: is no name of a repository; expected owner/name")
        with _asked(repo):
            self._refuse_others(repo)
            held = self._held(repo)
            if held is not None:
                return self._again(held, files, repo, public=public, replace=replace)
            self.api.create_repo(repo, private=not public, exist_ok=False)
            commit = self._commit(files, repo, (), "")
        self._prove(files, repo, commit)
        return Uploaded(commit, not public, changed=True)

    def _again(
        self,
        held: ModelInfo,
        files: Mapping[str, Path],
        repo: str,
        *,
        public: bool,
        replace: bool,
    ) -> Uploaded:
        """Put files into a repository that is there already."""
        private, commit = bool(held.private), str(held.sha or "")
        if not private and not public:
            raise PlanError(
                f"--repo {repo}: is public; say --public if the adapter may be seen by anyone, or "
                "choose another name"
            )
        there = {item.rfilename for item in held.siblings or ()} - OF_THE_HUB
        others = tuple(sorted(there - files.keys()))
        if there == set(files) and self._equal(files, repo, commit):
            return Uploaded(commit, private, changed=False)
        if there and not replace:
            shown = ", ".join(sorted(there)[:SHOWN_FILES])
            more = f" and {len(there) - SHOWN_FILES} more" if len(there) > SHOWN_FILES else ""
            raise PlanError(
                f"--repo {repo}: holds other files ({shown}{more}); choose another name, or say "
                "--replace to put the adapter in their place (the hub keeps the older commits)"
            )
        commit = self._commit(files, repo, others, commit)
        self._prove(files, repo, commit)
        return Uploaded(commit, private, changed=True, removed=others)

    def _refuse_others(self, repo: str) -> None:
        """Refuse a repository of somebody else."""
        who: dict[str, Any] = self.api.whoami()
        owners = [str(who["name"]), *(str(org["name"]) for org in who.get("orgs") or ())]
        if repo.partition("/")[0] not in owners:
            raise PlanError(
                f"--repo {repo}: does not belong to you; your token writes to repositories of "
                f"{', '.join(owners)}"
            )

    def _held(self, repo: str) -> ModelInfo | None:
        try:
            return self.api.model_info(repo)
        except RepositoryNotFoundError:
            return None

    def _commit(
        self, files: Mapping[str, Path], repo: str, others: tuple[str, ...], parent: str
    ) -> str:
        adds = [CommitOperationAdd(name, str(path)) for name, path in sorted(files.items())]
        drops = [CommitOperationDelete(name) for name in others]
        made = self.api.create_commit(
            repo, [*adds, *drops], commit_message=MESSAGE, parent_commit=parent or None
        )
        return str(made.oid)

    def _prove(self, files: Mapping[str, Path], repo: str, commit: str) -> None:
        if not self._equal(files, repo, commit):
            raise FileError(
                f"{repo}: gives other bytes than were sent; what lies there at {commit[:12]} is "
                "not the adapter. Remove it, and upload it again"
            )

    def _equal(self, files: Mapping[str, Path], repo: str, commit: str) -> bool:
        """Whether what the hub gives of a commit is what lies here, file by file."""
        with tempfile.TemporaryDirectory() as beside, _asked(repo):
            for name, path in files.items():
                found = hf_hub_download(
                    repo, name, revision=commit, local_dir=beside, endpoint=self.endpoint
                )
                if digest(Path(found)) != digest(path):
                    return False
        return True


@contextlib.contextmanager
def _asked(repo: str) -> Iterator[None]:
    """Turn what the hub's library raises into an error that names the repository and the remedy."""
    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        yield
    except (FileError, PlanError):
        raise
    except LocalTokenNotFoundError as error:
        raise FileError(
            f"--repo {repo}: there is no token of the hub; run `hf auth login`, or set HF_TOKEN to "
            "one that may write"
        ) from error
    except HfHubHTTPError as error:
        said = " ".join(str(error).split())
        raise FileError(f"--repo {repo}: the hub refuses ({said[:300]})") from error
    except UNREACHED as error:
        said = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise FileError(
            f"--repo {repo}: the hub cannot be asked ({type(error).__name__}: {said[:300]}); is "
            "there a network, and is HF_HUB_OFFLINE unset?"
        ) from error
    finally:
        if shown:
            enable_progress_bars()
