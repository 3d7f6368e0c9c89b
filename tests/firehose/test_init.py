# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: whoever serves a store serves Firehose with it. Method: join a site that notes what it is given."""

from headrace import firehose
from headrace.config import Config
from headrace.firehose import DeliveryKeeper, FirehoseService, join


class Site:
    def __init__(self, place):
        self.config, self.log, self.streams = Config(), place.log, place.streams
        self.services, self.keepers, self.addresses = {}, [], []
        self.add_service, self.add_keeper = self.services.__setitem__, self.keepers.append


def test_a_site_gets_the_service_and_its_keeper(place):
    site = Site(place)
    join(site)
    assert list(site.services) == ["Firehose_20150804"]
    assert isinstance(site.services["Firehose_20150804"], FirehoseService)
    assert [type(keeper) for keeper in site.keepers] == [DeliveryKeeper]


def test_where_the_site_listens_is_asked_each_time(place):
    site = Site(place)
    join(site)
    buckets = site.services["Firehose_20150804"].deliveries.buckets
    assert buckets.developer
    site.addresses = [("10.0.0.1", 4567)]  # it began to listen after it was joined
    assert not buckets.developer


def test_the_face_is_all_there():
    assert all(hasattr(firehose, name) for name in firehose.__all__)
