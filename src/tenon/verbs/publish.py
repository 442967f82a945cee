"""Publish: an adapter's directory on the hub, with its card, proved by its digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tenon.adapters import pack
from tenon.adapters.directory import files_for
from tenon.adapters.files import CARD, MANIFEST
from tenon.core.progress import Progress
from tenon.export.hub import Hub
from tenon.verbs.folder import adapter_folder


@dataclass(frozen=True)
class Published:
    """What lies on the hub.

    Args:
        repo: `owner/name`.
        url: of the repository.
        commit: that holds the adapter.
        private: whether others cannot see it.
        changed: whether anything was sent; not where the same files were there.
        files: name to bytes.
        notes: what has to be known of it, in sentences.
    """

    repo: str
    url: str
    commit: str
    private: bool
    changed: bool
    files: dict[str, int]
    notes: tuple[str, ...] = ()


def publish(
    adapter: Path | str,
    repo: str,
    *,
    public: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Published:
    """Upload an adapter's directory, download it again, and compare the digests.

    Args:
        adapter: the adapter directory, or a run.
        repo: `owner/name` on the hub; it is made, private, where it is not there.
        public: whether anyone may see it.
        replace: whether other files that are there may be overwritten and removed.

    Raises:
        PlanError: the repository is not the user's, holds other files, or is public, and neither
            was allowed. Nothing was sent.
        AdapterError: the adapter cannot be trusted.
        FileError: something is not there, the hub refuses, or gives other bytes than were sent.
    """
    folder = adapter_folder(adapter)
    if progress:
        progress.start("uploading and downloading again", None)
    manifest = pack.read(folder).manifest
    names = sorted({MANIFEST, *files_for(manifest)})
    files = {name: folder / name for name in names}
    hub = Hub()
    done = hub.upload(files, repo, public=public, replace=replace)
    base, notes = manifest.base.name, list[str]()
    if Path(base).is_absolute() or Path(base).exists():
        notes.append(
            f"{CARD} names the base by a folder of this machine, {base}: whoever loads the adapter "
            "has to say where it is"
        )
    if done.removed:
        notes.append(f"removed from the repository: {', '.join(done.removed)}")
    if not done.changed:
        notes.append("the same files were there already: nothing was sent")
    sizes = {name: path.stat().st_size for name, path in files.items()}
    url = f"{hub.endpoint}/{repo}"
    return Published(repo, url, done.commit, done.private, done.changed, sizes, tuple(notes))
