"""A dataset from a service's HTTP API, downloaded whole into a folder of this machine."""

from __future__ import annotations

import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Final
from urllib.parse import quote

from market.errors import CorruptStore, InvalidRequest, NotFound, StoreUnavailable

DOWNLOAD_S: Final = 600.0


def downloaded(url: str, dataset_id: str, *, api_key: str | None, folder: Path) -> Path:
    """The dataset from a service's HTTP API, below ``folder``; a dataset that is already there is not fetched again.

    Raises NotFound, InvalidRequest, StoreUnavailable, CorruptStore.
    """
    place = folder / dataset_id
    if place.is_dir():
        return place
    address = f"{url.rstrip('/')}/dataset/{quote(dataset_id, safe='')}/download?split=all"
    if not address.startswith(("http://", "https://")):
        raise InvalidRequest(f"url: must begin with http:// or https://, was {url!r}")
    request = urllib.request.Request(address, headers={} if api_key is None else {"X-API-Key": api_key})  # noqa: S310
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{dataset_id}-") as scratch:
        archive = Path(scratch, "all.zip")
        try:
            with (
                urllib.request.urlopen(request, timeout=DOWNLOAD_S) as response,  # noqa: S310  # its scheme was checked
                archive.open("wb") as file,
            ):
                shutil.copyfileobj(response, file)
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(Path(scratch, "files"))
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            kind = NotFound if error.code == 404 else InvalidRequest if error.code < 500 else StoreUnavailable
            raise kind(f"dataset {dataset_id}: must be downloaded from {url}, was {error.code} {told}") from error
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(f"{url}: no whole response, {error}") from error
        except zipfile.BadZipFile as error:
            raise CorruptStore(f"dataset {dataset_id} from {url}: must be a zip, was {error}") from error
        try:
            Path(scratch, "files").replace(place)
        except OSError:
            if not place.is_dir():  # as it is when another process was first
                raise
    return place
