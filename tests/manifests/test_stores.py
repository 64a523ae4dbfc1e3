"""Stores: what is put is read back, whatever the key is called; each failure is one sentence; a mirror shows and downloads objects."""

import os
import re
import time
from pathlib import Path

import pytest
from bucket_server import BUCKET, never_fails

from stemwright.manifests.disk import mirror, stores
from stemwright.manifests.disk.regular import file_sha256, not_a_file, regular
from stemwright.manifests.disk.stores import StoreError, address_of
from stemwright.manifests.usage import UsageError

NAMES = ["plain.flac", "two words/Björk – 100%41.flac", "a+b&c=d?e#f;g.wav", "日本/*star*.flac", "%2F/%.flac", "~'q\"[x]{y}|z.flac"]


@pytest.fixture
def failing(server):
    """Makes every request fail with a status and a code of S3."""

    def fail(status, code, method="", part=""):
        server.fails = lambda by, path: (status, code) if by.startswith(method) and part in path else None

    stores.opened.cache_clear()
    yield fail
    server.fails = never_fails


@pytest.fixture(params=["s3", "file"])
def place(request, server, tmp_path):
    """A prefix in a bucket, and in a folder."""
    return address_of(f"s3://{BUCKET}/in {tmp_path.name}" if request.param == "s3" else f"file://{tmp_path}/in it")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_put_is_read_back_under_any_name(place, name):
    store, key = place.store, place.below(name).prefix
    assert store.put(key, b"0123456789")
    assert store.get(key) == b"0123456789"
    assert store.get(key, 3, 4) == b"3456"
    assert store.get_ranges(key, [(8, 2), (0, 1), (1, 2)]) == [b"89", b"0", b"12"]
    assert [(found.key, found.num_bytes) for found in store.list(place.prefix)] == [(key, 10)]
    assert store.size(key) == 10
    store.delete([key, place.below("never there").prefix])
    assert store.size(key) is None
    with pytest.raises(FileNotFoundError):
        store.get(key)


def test_the_keys_of_another_client_are_listed_and_read(server):
    for name in NAMES:
        server.client.put_object(Bucket=BUCKET, Key=f"theirs/{name}", Body=name.encode())
    place = address_of(f"s3://{BUCKET}/theirs")
    assert {found.key for found in place.store.list("theirs")} == {f"theirs/{name}" for name in NAMES}
    assert [place.store.get(f"theirs/{name}") for name in NAMES] == [name.encode() for name in NAMES]


def test_a_prefix_is_a_folder_and_no_beginning_of_a_name(place):
    for name in ("a/one", "ab/two"):
        place.store.put(place.below(name).prefix, b"x")
    assert [found.key for found in place.store.list(place.below("a").prefix)] == [place.below("a/one").prefix]


def test_an_object_that_is_there_stays_as_it_is(place):
    key = place.below("once").prefix
    assert place.store.put(key, b"first")
    assert not place.store.put(key, b"other")
    assert place.store.get(key) == b"first"
    assert place.store.put(key, b"other", create=False)
    assert place.store.get(key) == b"other"


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(server, tmp_path):
    large, back, place = tmp_path / "large", tmp_path / "back", address_of(f"s3://{BUCKET}/large")
    large.write_bytes(os.urandom(1 << 20) * 33)
    server.requests.clear()
    assert place.store.put("large", large)
    assert sum(method == "PUT" and "partNumber" in path for method, path in server.requests) == 3
    assert not place.store.put("large", large)
    place.store.download("large", back)
    assert file_sha256(back) == file_sha256(large)


def test_what_ends_early_is_an_error_though_the_client_gives_it_as_whole(place):
    key = place.below("short").prefix
    place.store.put(key, b"123456789")
    with pytest.raises(OSError, match=r"gave 9 of 1,000,000 bytes"):
        place.store.get(key, 0, 1_000_000)
    with pytest.raises(OSError, match=r"the store gave"):
        place.store.get_ranges(key, [(0, 2), (5, 10)])
    with pytest.raises(OSError, match=r"the store gave 0|ends before what was requested"):
        place.store.get(key, 100, 10)


def test_near_ranges_are_one_request_and_far_ones_are_not(server):
    place = address_of(f"s3://{BUCKET}/ranges")
    data = os.urandom(1_000_000)
    place.store.put("ranges", data)
    place.store.get("ranges", 0, 1)
    server.requests.clear()
    spans = [(start, 5_000) for start in (70_000, 0, 40_000, 100_000, 130_000)]
    assert place.store.get_ranges("ranges", spans) == [data[start : start + length] for start, length in spans]
    assert len(server.reads()) == 1
    assert place.store.get_ranges("ranges", [(0, 10), (900_000, 10)]) == [data[:10], data[900_000:900_010]]
    assert len(server.reads()) == 3


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "NoSuchBucket", "there is no bucket s3://songs-and-stems; make it, or correct the address"),
        (403, "AccessDenied", "not allowed to read s3://songs-and-stems/any.*or it is not there"),
        (403, "InvalidAccessKeyId", "are not accepted"),
        (403, "SignatureDoesNotMatch", "are not accepted"),
        (400, "ExpiredToken", "have expired"),
        (403, "RequestExpired", "have expired"),
        (403, "RequestTimeTooSkewed", "the clock of this machine differs too much from that of s3://songs-and-stems"),
        (301, "PermanentRedirect", "in another region than the requests; set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "in another region"),
        (400, "Unheard", "cannot be used: .*Unheard.*Finished work is kept"),
    ],
)
def test_what_ends_all_work_is_one_sentence(failing, status, code, said):
    failing(status, code)
    with pytest.raises(StoreError, match=said) as caught:
        address_of(f"s3://{BUCKET}").store.get("any")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_number_in_a_name_is_no_status(failing):
    failing(400, "Unheard")
    with pytest.raises(StoreError, match=r"cannot be used: .*Unheard"):
        address_of(f"s3://{BUCKET}").store.get("the 403 and the 401.flac")
    failing(403, "Odd")
    with pytest.raises(StoreError, match="not allowed to read"):
        address_of(f"s3://{BUCKET}").store.get("any")


def test_a_bucket_that_may_not_be_written_to_says_so(failing):
    failing(403, "AccessDenied", "PUT")
    with pytest.raises(StoreError, match=r"not allowed to write s3://songs-and-stems/any\. Check the credentials"):
        address_of(f"s3://{BUCKET}").store.put("any", b"x")


def test_a_missing_bucket_is_said_when_it_is_listed_and_written(server):
    for work in (lambda store: list(store.list("x")), lambda store: store.put("x", b"x"), lambda store: store.get("x")):
        with pytest.raises(StoreError, match="there is no bucket s3://other-bucket"):
            work(address_of("s3://other-bucket").store)


def test_missing_credentials_are_one_sentence(server, failing, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url)  # of EC2's roles: this server knows none
    failing(404, "NotFound", part="latest")
    with pytest.raises(StoreError, match=r"no credentials for s3://songs-and-stems were found\. Check"):
        address_of(f"s3://{BUCKET}").store.get("any")
    stores.opened.cache_clear()


def test_a_key_that_no_client_can_list_is_named_as_the_reason(server):
    server.client.put_object(Bucket=BUCKET, Key="odd/a//b.flac", Body=b"x")
    with pytest.raises(StoreError, match="holds a key with an empty part"):
        list(address_of(f"s3://{BUCKET}/odd").store.list("odd"))
    server.client.delete_object(Bucket=BUCKET, Key="odd/a//b.flac")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://", "names no bucket"),
        ("s3://bucket/a//b", "no part of it empty"),
        ("s3://bucket/../b", "no part of it empty"),
        ("s4://bucket", "did you mean 's3'"),
    ],
)
def test_an_address_that_cannot_be_one_says_what_is_expected(text, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        address_of(text)


def test_an_address_survives_a_path_that_was_made_of_it():
    for text in ("s3://bucket/a b/%41", "gs://bucket", "file:///data/x"):
        assert str(address_of(Path(text))) == str(address_of(text)) == text
    assert not any(map(stores.is_address, ("C:/songs", "songs", "/data/s3:/x", "a:b")))


def test_a_mirror_shows_sizes_and_downloads_what_is_opened(place, server):
    for name in NAMES:
        place.store.put(place.below(name).prefix, name.encode() * 1000)
    folder, unusable = mirror.show(place)
    assert not unusable
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(NAMES)
    for name in NAMES:
        assert (folder / name).stat().st_size == len(name.encode()) * 1000
        assert not_a_file(folder / name) is None
        assert (folder / name).read_bytes() == name.encode() * 1000
    server.requests.clear()
    assert regular(folder / NAMES[0]).read_bytes() == NAMES[0].encode() * 1000
    assert not server.reads()


def test_a_mirror_follows_what_changes_in_the_store(place):
    one, two = (place.below(name).prefix for name in ("one.flac", "two.flac"))
    place.store.put(one, b"12345")
    place.store.put(two, b"12345")
    folder, _ = mirror.show(place)
    assert regular(folder / "one.flac").read_bytes() == b"12345"
    place.store.put(one, b"67890", create=False)
    place.store.delete([two])
    mirror.show(place)
    assert [path.name for path in folder.iterdir()] == ["one.flac"]
    assert regular(folder / "one.flac").read_bytes() == b"67890"


def test_the_path_of_an_object_leads_to_it_where_nothing_was_listed(place):
    place.store.put(place.below("deep/one.flac").prefix, b"12345")
    assert regular(mirror.place_of(place.below("deep/one.flac"))).read_bytes() == b"12345"
    with pytest.raises(FileNotFoundError):
        not_a_file(mirror.place_of(place.below("deep/other.flac")))


def test_room_is_made_of_what_was_opened_longest_ago(place, monkeypatch, tmp_path):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "room"))
    for name in ("a", "b", "c"):
        place.store.put(place.below(name).prefix, name.encode() * 1000)
    folder, _ = mirror.show(place)
    for age_s, name in enumerate(("c", "b", "a")):
        not_a_file(folder / name)
        os.utime(folder / name, (0, time.time() - 1000 - age_s))
    assert mirror.make_room(1500) == 2000
    assert [(folder / name).stat().st_mtime_ns == 0 for name in ("a", "b", "c")] == [True, True, False]
    assert regular(folder / "a").read_bytes() == b"a" * 1000
    assert mirror.make_room(0) == 1000  # the one opened now stays


def test_a_full_scratch_folder_is_one_sentence(place, monkeypatch):
    place.store.put(place.below("x").prefix, b"x")

    def full(key, to):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.store, "download", full)
    with pytest.raises(StoreError, match=r"the disk is full in the scratch folder .*STEMWRIGHT_SCRATCH"):
        not_a_file(mirror.place_of(place.below("x")))


def test_a_fork_of_a_process_that_opened_a_bucket_says_how_to_start_workers(server, monkeypatch):
    store = address_of(f"s3://{BUCKET}").store
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(StoreError, match='multiprocessing_context="forkserver"'):
        store.get("any")
