"""A generalist on disk, decoding processes and an archive, shared by the tests of this folder."""

from __future__ import annotations

import asyncio

import pytest

from dicomwebsite import dicomweb_site
from medlego.serve.decoding import Decoders
from serving import SMALL, make_place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def routed(place):
    """The directory of a routed generalist."""
    return place.generalist("routed")


@pytest.fixture(scope="module")
def decoders():
    started = Decoders(SMALL)
    asyncio.run(started.start())
    yield started
    started.close()


@pytest.fixture
def site():
    """An archive over DICOMweb."""
    with dicomweb_site() as archive:
        yield archive
