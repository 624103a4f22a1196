"""Shards come over the network whole, or with one sentence on why not."""

from __future__ import annotations

import pytest

from audio_denoising.errors import UserError
from audio_denoising.mixing.shard_opening import ATTEMPTS, LostShard, MissingShard, open_shard
from tests.misbehaving_server import Page

CONTENT = bytes(range(256)) * 4_000


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def read(pauses):
    def all_of(url):
        with open_shard(url, sleep=pauses.append) as file:
            return file.read()

    return all_of


def test_a_whole_file_takes_one_request(server, read, pauses):
    assert read(server.add("/a.tar", Page(CONTENT))) == CONTENT
    assert len(server.requests) == 1
    assert pauses == []


def test_a_broken_connection_is_continued_where_it_broke(server, read):
    url = server.add("/a.tar", Page(CONTENT, cut_at=[400_000, 700_000]))
    assert read(url) == CONTENT
    assert [request.range for request in server.requests] == [
        None,
        "bytes=400000-",
        "bytes=700000-",
    ]


@pytest.mark.parametrize("page", [{"ranges": False}, {"etag": ""}, {"etag": 'W/"one"'}])
def test_servers_without_ranges_or_strong_tags_serve_too(server, read, page):
    url = server.add("/a.tar", Page(CONTENT, cut_at=[400_000], **page))
    assert read(url) == CONTENT


def test_another_range_than_asked_for_is_not_taken(server, read):
    url = server.add("/a.tar", Page(CONTENT, cut_at=[400_000], lie=7))
    with pytest.raises(LostShard, match="another range.*--resume"):
        read(url)


def test_a_file_replaced_meanwhile_is_noticed(server):
    url = server.add("/a.tar", Page(CONTENT, cut_at=[400_000]))

    def replace(seconds):
        server.pages["/a.tar"] = Page(CONTENT[::-1], etag='"two"')

    with open_shard(url, sleep=replace) as file, pytest.raises(LostShard, match="was replaced"):
        file.read()


def test_a_server_that_recovers_is_waited_for(server, read, pauses):
    assert read(server.add("/a.tar", Page(CONTENT, status=[503, 500, 429]))) == CONTENT
    assert pauses == [1, 2, 4]


def test_progress_renews_the_patience(server, read):
    cuts = list(range(50_000, 1_000_000, 50_000))
    assert len(cuts) > ATTEMPTS
    assert read(server.add("/a.tar", Page(CONTENT, cut_at=cuts))) == CONTENT


@pytest.mark.parametrize(
    ("status", "kind", "message", "requests"),
    [
        (404, MissingShard, r"a\.tar does not exist \(the server answers 404\): check", 1),
        (403, LostShard, "answers 403 Forbidden.*access", 1),
        (500, LostShard, "5 attempts in a row failed.*500.*try again later", ATTEMPTS),
    ],
)
def test_what_the_server_refuses_is_one_sentence(server, read, status, kind, message, requests):
    url = server.add("/a.tar", Page(CONTENT, status=[status] * 9))
    with pytest.raises(kind, match=message) as caught:
        read(url)
    assert isinstance(caught.value, UserError)
    assert len(server.requests) == requests


def test_a_server_that_is_not_there(read, pauses):
    with pytest.raises(LostShard, match="5 attempts in a row failed"):
        read("http://127.0.0.1:9/a.tar")
    assert len(pauses) == ATTEMPTS - 1


def test_local_files(tmp_path, read):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    assert read(str(tmp_path / "a.tar")) == CONTENT
    with pytest.raises(MissingShard, match="b.tar does not exist"):
        read(str(tmp_path / "b.tar"))
    with pytest.raises(LostShard, match="cannot be read"):
        read(str(tmp_path))


def test_the_sentence_survives_what_libraries_do_to_errors():
    error = LostShard("one sentence")
    error.args = (*error.args, object())
    assert str(error) == "one sentence"
