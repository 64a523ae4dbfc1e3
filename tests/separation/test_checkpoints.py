"""Model weights: found, fetched from a real server, verified, and refused with a reason when they are not what they should be."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from tiny_model import build_tiny, write_network, write_tiny_model

from stemwright.separation.demucs import checkpoints, weights
from stemwright.separation.demucs import hub as hub_module
from stemwright.separation.demucs.checkpoints import ModelError, WeightsUnavailable


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models"), members=2)


@pytest.fixture
def folder(built, tmp_path):
    copy = tmp_path / "models"
    copy.mkdir()
    for path in built.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(checkpoints.MODELS_VARIABLE, raising=False)
    return tmp_path / "hub"


def members(folder):
    return sorted(folder.glob("*.safetensors"))


def write_sums(folder):
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in members(folder)]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_folder_gives_stems_and_rate_without_loading(folder):
    found = checkpoints.find("tiny", model_folder=folder)
    assert found.header is not None
    assert found.header.stem_names == ("drums", "bass", "other", "vocals")
    assert (found.header.sample_rate, found.header.num_channels) == (44_100, 2)
    assert len(found.members) == 2


def test_the_identity_changes_with_one_bit_of_a_weight(folder):
    before = checkpoints.find("tiny", model_folder=folder).identity
    data = bytearray(members(folder)[0].read_bytes())
    data[-1] ^= 1
    members(folder)[0].write_bytes(bytes(data))
    assert checkpoints.find("tiny", model_folder=folder).identity != before
    json.dumps(before)


def test_the_environment_names_a_folder(folder, monkeypatch):
    monkeypatch.setenv(checkpoints.MODELS_VARIABLE, str(folder))
    assert checkpoints.find("tiny", offline=True).folder == folder


def test_a_wrong_checksum_is_an_error_and_verify_names_the_file(folder):
    write_sums(folder)
    checkpoints.find("tiny", model_folder=folder).check()
    data = bytearray(members(folder)[0].read_bytes())
    data[-1] ^= 1
    members(folder)[0].write_bytes(bytes(data))
    with pytest.raises(ModelError, match=f"{members(folder)[0].name} has checksum"):
        checkpoints.find("tiny", model_folder=folder).check()
    assert sorted(one.ok for one in checkpoints.verify("tiny", model_folder=folder)) == [False, True]


def test_a_missing_member_is_named(folder):
    gone = members(folder)[1]
    gone.unlink()
    with pytest.raises(ModelError, match=f"member {gone.stem} is missing"):
        checkpoints.find("tiny", model_folder=folder)


class Trap:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
def test_a_pickle_is_refused_and_not_opened(folder, tmp_path, suffix):
    first = members(folder)[0]
    first.unlink()
    first.with_suffix(suffix).write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    with pytest.raises(ModelError, match="pickle"):
        checkpoints.find("tiny", model_folder=folder)
    assert not (tmp_path / "sprung").exists()


def test_a_trusted_pickle_gives_the_same_stems(tmp_path):
    import numpy as np
    import torch

    from stemwright.separation.demucs.separator import DemucsSeparator

    network = build_tiny("hdemucs", 4)
    safe, pickled = tmp_path / "safe", tmp_path / "pickled"
    for where in (safe, pickled):
        where.mkdir()
    write_network(safe, "one", network)
    state = {name: tensor.half() for name, tensor in network.state_dict().items()}
    args, kwargs = network._init_args_kwargs
    torch.save({"klass": type(network), "args": args, "kwargs": kwargs, "state": state}, pickled / "one.th")
    mixture = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    with pytest.raises(ModelError, match=r"--trust-pickle"):
        DemucsSeparator("one", pickled).separate(mixture, 44_100)
    expected = DemucsSeparator("one", safe).separate(mixture, 44_100)
    got = DemucsSeparator("one", pickled, trust_pickle=True).separate(mixture, 44_100)
    for name, stem in expected.items():
        np.testing.assert_array_equal(got[name], stem)


def test_a_header_that_names_a_foreign_class_is_refused(folder):
    from safetensors.torch import load_file, save_file

    path = members(folder)[0]
    metadata = {"klass": "subprocess.Popen", "args": '[["touch", "x"]]', "kwargs": "{}"}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(ModelError, match=r"class 'subprocess\.Popen'; expected one of Demucs's"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize("keep", [0, 5, 200, -10], ids=["empty", "five bytes", "half a header", "ten bytes short"])
def test_a_truncated_file_is_refused(folder, keep):
    path = members(folder)[0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"truncated|damaged"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize("text", ["models: ['../../etc/passwd']", "models: []", "just words", "models: [1, 2]", "{"])
def test_a_definition_that_is_none_is_refused(folder, text):
    (folder / "tiny.yaml").write_text(text)
    with pytest.raises(ModelError, match="not a model definition"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize(("rows", "reason"), [([[1, 1, 1, 1]], "2 rows of 4"), ([[1, 1, 1, 0], [1, 1, 1, 0]], "positive sum")])
def test_weights_of_a_bag_must_fit_it(folder, rows, reason):
    lines = (folder / "tiny.yaml").read_text().splitlines()
    (folder / "tiny.yaml").write_text("\n".join([lines[0], f"weights: {rows}"]))
    with pytest.raises(ModelError, match=reason):
        checkpoints.find("tiny", model_folder=folder)


def test_members_with_other_stems_or_rates_are_refused(folder):
    write_network(folder, members(folder)[1].stem, build_tiny("htdemucs", 1, sample_rate=48_000))
    with pytest.raises(ModelError, match="48000 Hz"):
        checkpoints.find("tiny", model_folder=folder)


def test_without_network_the_error_names_the_folder_and_two_ways_out(own_cache):
    with pytest.raises(WeightsUnavailable) as caught:
        checkpoints.find("htdemucs", offline=True)
    message = str(caught.value)
    assert str(own_cache) in message
    assert "stemwright models fetch htdemucs --model-folder" in message
    assert "--model bundled" in message
    assert "--offline" in message


def test_a_given_folder_is_the_only_one_searched(tmp_path):
    with pytest.raises(WeightsUnavailable, match="does not exist"):
        checkpoints.find("htdemucs", model_folder=tmp_path / "nowhere")
    with pytest.raises(WeightsUnavailable, match=re.escape(f"looked in the folder {tmp_path}")):
        checkpoints.find("htdemucs", model_folder=tmp_path)


class Hub(BaseHTTPRequestHandler):
    """Serves a folder as hub repositories: /NAMESPACE/NAME/resolve/main/FILE with the headers of the real hub."""

    folder: Path
    asked: list[str]
    commit = "a" * 40
    redirect = ""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        type(self).asked.append(self.path)
        if self.redirect:  # as the hub redirects requests for large files to other servers
            self.send_response(302)
            for name, value in {"Location": self.redirect, "X-Repo-Commit": self.commit, "ETag": '"1"', "X-Linked-Size": "1"}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        path = self.folder / Path(unquote(self.path)).name
        if "/resolve/" not in self.path or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(folder, monkeypatch):
    handler = type("ThisHub", (Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv(hub_module.HTTP_VARIABLE, "1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_from_a_server_verified_and_then_found_offline(hub, folder):
    fetched = checkpoints.fetch("tiny")
    assert hub.asked[0] == "/adefossez/Demucs-tiny/resolve/main/tiny.yaml"
    assert fetched.identity == checkpoints.find("tiny", model_folder=folder).identity
    count = len(hub.asked)
    assert checkpoints.find("tiny", offline=True).identity == fetched.identity
    verified = checkpoints.verify("tiny")
    assert all(one.ok and one.expected is not None for one in verified)
    assert len(hub.asked) == count, "offline asked the network"


def test_fetching_into_a_folder_writes_checksums_that_are_then_checked(hub, tmp_path):
    target = tmp_path / "carried"
    checkpoints.fetch("hf://someone/tiny", model_folder=target)
    assert hub.asked[0].startswith("/someone/Demucs-tiny/")
    assert (target / "SHA256SUMS").is_file()
    assert all(one.ok and one.expected for one in checkpoints.verify("tiny", model_folder=target))
    os.truncate(members(target)[0], members(target)[0].stat().st_size)
    data = bytearray(members(target)[0].read_bytes())
    data[-1] ^= 1
    members(target)[0].write_bytes(bytes(data))
    assert not all(one.ok for one in checkpoints.verify("tiny", model_folder=target))


def test_a_damaged_file_in_the_hubs_cache_is_noticed(hub):
    fetched = checkpoints.fetch("tiny")
    blob = fetched.members[0].path.resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="damaged or a different file"):
        checkpoints.find("tiny", offline=True).check()


def test_a_file_that_the_server_lacks_is_reported_with_its_address(hub, monkeypatch):
    with pytest.raises(WeightsUnavailable, match=r"http://127\.0\.0\.1:\d+/adefossez/Demucs-absent/resolve/main/absent\.yaml"):
        checkpoints.find("absent")


def test_a_fetched_model_is_found_without_a_server_and_an_absent_one_reports_no_answer(hub, monkeypatch, capfd):
    fetched = checkpoints.fetch("tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: no server listens
    assert checkpoints.find("tiny").identity == fetched.identity
    with pytest.raises(WeightsUnavailable, match=r"no answer from http://127\.0\.0\.1:9: .*Connection refused"):
        checkpoints.find("absent")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")  # a name that no server has
    with pytest.raises(WeightsUnavailable, match=r"no answer from https://hub\.invalid: "):
        checkpoints.find("absent")
    assert "Retrying" not in capfd.readouterr().err


def test_through_a_proxy_that_is_not_there_nothing_is_tried_again(hub, monkeypatch, capfd):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(WeightsUnavailable, match=r"no answer from http://127\.0\.0\.1:\d+: .*Connection refused"):
        checkpoints.find("absent")
    assert hub.asked == []
    assert "Retrying" not in capfd.readouterr().err


def test_what_is_fetched_is_reported_in_megabytes_and_no_bar_is_drawn(hub, capfd):
    seen = []
    with hub_module.reporting(lambda done, total, subject, *_: seen.append((done, total, subject))):
        fetched = checkpoints.fetch("tiny")
    sizes = {f"MB of {member.path.name}": member.path.stat().st_size / 1e6 for member in fetched.members}
    last = {subject: done for done, _, subject in seen}
    assert {subject: last[subject] for subject in sizes} == pytest.approx(sizes)
    assert all(done <= total for done, total, _ in seen)
    assert capfd.readouterr() == ("", "")


def test_an_unencrypted_hub_is_not_contacted_without_consent(hub, monkeypatch):
    monkeypatch.delenv(hub_module.HTTP_VARIABLE)
    with pytest.raises(
        WeightsUnavailable, match=r"http://127\.0\.0\.1:\d+ was not contacted: .*not encrypted.* set STEMWRIGHT_ALLOW_HTTP=1"
    ):
        checkpoints.fetch("tiny")
    assert hub.asked == []
    monkeypatch.setenv(hub_module.HTTP_VARIABLE, "1")
    fetched = checkpoints.fetch("tiny")
    count = len(hub.asked)
    monkeypatch.delenv(hub_module.HTTP_VARIABLE)
    assert checkpoints.find("tiny").identity == fetched.identity, "what is in the cache needs no consent"
    assert len(hub.asked) == count


def test_a_redirect_to_an_unencrypted_address_is_not_followed(hub, monkeypatch):
    monkeypatch.delenv(hub_module.HTTP_VARIABLE)
    # The first address counts as encrypted, as if a proxy in front of it were; what it redirects to does not.
    first = os.environ["HF_ENDPOINT"]
    plain = hub_module._unencrypted
    monkeypatch.setattr(hub_module, "_unencrypted", lambda address: None if address.startswith(first) else plain(address))
    hub.redirect = "http://localhost:9/elsewhere"
    with pytest.raises(ModelError, match=r"http://localhost:9/elsewhere.* was not contacted"):
        checkpoints.fetch("tiny")


def test_an_unencrypted_address_of_another_protocol_is_not_passed_on(monkeypatch):
    import types

    monkeypatch.delenv(hub_module.HTTP_VARIABLE, raising=False)
    given = types.SimpleNamespace(
        headers={"Link": '<https://a.example/x>; rel="xet-auth", <http://b.example/y>; rel="xet-reconstruction-info"'}
    )
    with pytest.raises(ModelError, match=r"http://b\.example/y was not contacted"):
        hub_module._check_links(given)
    monkeypatch.setenv(hub_module.HTTP_VARIABLE, "1")
    hub_module._check_links(given)


def test_the_hubs_client_is_as_before_after_a_download(hub):
    from huggingface_hub.utils import _http

    before = _http._GLOBAL_CLIENT_FACTORY
    checkpoints.fetch("tiny")
    assert _http._GLOBAL_CLIENT_FACTORY is before


def exchange_a_weight(folder):
    data = bytearray(members(folder)[0].read_bytes())
    data[-1] ^= 1
    members(folder)[0].write_bytes(bytes(data))


def test_the_first_file_that_the_hub_gave_counts(hub, folder, own_cache):
    checkpoints.fetch("tiny")
    sums = own_cache / "models--adefossez--Demucs-tiny" / "SHA256SUMS"
    assert sorted(weights.read_sums(sums)) == [path.name for path in members(folder)]
    assert checkpoints.first_sums(checkpoints.fetch("tiny")) == sums
    assert checkpoints.first_sums(checkpoints.find("bundled")) is None
    exchange_a_weight(folder)
    hub.commit = "b" * 40
    for _ in range(2):  # it is not written down by being refused
        with pytest.raises(ModelError, match=rf"{members(folder)[0].name} from http.* differs from the file fetched first.*SHA256SUMS"):
            checkpoints.fetch("tiny")
    with pytest.raises(ModelError, match="differs from the file fetched first"):
        checkpoints.find("tiny", offline=True)
    sums.unlink()
    assert checkpoints.fetch("tiny").identity == checkpoints.find("tiny", model_folder=folder).identity


def test_fetching_into_a_folder_does_not_replace_weights_by_others(hub, folder, tmp_path, own_cache):
    target = tmp_path / "carried"
    first = checkpoints.fetch("tiny", model_folder=target)
    exchange_a_weight(folder)
    hub.commit = "b" * 40
    (own_cache / "models--adefossez--Demucs-tiny" / "SHA256SUMS").unlink()  # as on another machine that never fetched it
    with pytest.raises(ModelError, match="differs from the file fetched first"):
        checkpoints.fetch("tiny", model_folder=target)
    assert checkpoints.find("tiny", model_folder=target).identity == first.identity


@pytest.mark.parametrize("line", ["models: ['0123abcd']", "models: ['955717e8']\nweights: [[1, 1, 1, 0.5]]"])
def test_a_published_model_has_the_definition_that_demucs_publishes(hub, folder, line):
    (folder / "htdemucs.yaml").write_text(line)
    with pytest.raises(ModelError, match=r"htdemucs\.yaml from http.* is not the model published by Demucs: its (models|weights) are"):
        checkpoints.fetch("htdemucs")
    assert not [path for path in hub.asked if "safetensors" in path]


def test_another_persons_model_of_that_name_is_his_own(hub, folder):
    (folder / "htdemucs.yaml").write_text(f"models: ['{members(folder)[0].stem}']")
    assert len(checkpoints.fetch("hf://someone/htdemucs").members) == 1


def test_a_published_pickle_must_have_the_checksum_that_demucs_states(tmp_path):
    (tmp_path / "955717e8.th").write_bytes(b"\x80\x02 other weights")
    found = checkpoints.find("955717e8", model_folder=tmp_path, trust_pickle=True)
    assert found.members[0].expected_sha256 == "8726e21a"  # remote/files.txt: 955717e8-8726e21a.th
    with pytest.raises(ModelError, match="damaged or a different file"):
        found.check()


def test_the_list_shows_which_models_are_on_this_machine(folder, monkeypatch):
    before = {one.name: one for one in checkpoints.available()}
    assert {"htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi", "mdx_extra", "bundled"} <= set(before)
    assert before["htdemucs"].folder is None
    assert before["htdemucs_6s"].stem_names[-2:] == ("guitar", "piano")
    here = {one.name: one for one in checkpoints.available(model_folder=folder)}["tiny"]
    assert here.folder == folder
    assert here.num_networks == 2
    assert here.size_mb == pytest.approx(sum(path.stat().st_size for path in members(folder)) / 1e6, abs=0.1)


def rewritten(path: Path, change) -> None:
    """Changes the JSON head of a safetensors file, as a stranger could."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    text = change(header)
    text = json.dumps(header).encode() if text is None else text
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def with_kwargs(**changes):
    def change(header):
        metadata = header["__metadata__"]
        metadata["kwargs"] = json.dumps({**json.loads(metadata["kwargs"]), **changes})

    return change


@pytest.mark.parametrize(
    "stem", ["../../../../home/precious", "/etc/cron.d/x", "a/b", "..", "Drums", "drums.", "", "x" * 65, "a\u001b[2J", 7, None, ["a"]]
)
def test_a_stem_of_a_model_that_cannot_be_a_file_name_is_refused_naming_the_model(folder, stem):
    for path in members(folder):
        rewritten(path, with_kwargs(sources=[stem, "bass", "other", "vocals"]))
    if stem == 7:  # a number is written as its digits, which are a name
        assert checkpoints.find("tiny", model_folder=folder).header.stem_names[0] == "7"
        return
    with pytest.raises(ModelError, match=r"\.safetensors has a stem name that cannot be used: .*is not a valid name"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize("sources", [[], "drums", {"a": 1}, ["drums", "drums"], [f"s{n}" for n in range(65)]])
def test_a_model_whose_stems_are_no_list_of_names_is_refused(folder, sources):
    for path in members(folder):
        rewritten(path, with_kwargs(sources=sources))
    with pytest.raises(ModelError, match="expected a list of 1 to 64 different stem names"):
        checkpoints.find("tiny", model_folder=folder)


def test_a_model_with_a_stem_called_residual_is_refused(folder):
    for path in members(folder):
        rewritten(path, with_kwargs(sources=["drums", "bass", "other", "residual"]))
    with pytest.raises(ModelError, match="'residual', a name reserved for mixture minus stems"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize("changes", [{"samplerate": 10**9}, {"samplerate": 1}, {"audio_channels": 10**6}, {"audio_channels": 0}])
def test_a_model_of_an_absurd_rate_or_many_channels_is_refused(folder, changes):
    for path in members(folder):
        rewritten(path, with_kwargs(**changes))
    with pytest.raises(ModelError, match="expected 4000 to 768000 Hz, mono or stereo"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize(
    "text",
    [b"[]", b"[" * 100_000, b'{"__metadata__": 3}', b'{"a": {}}', b'{"a": {"data_offsets": "xy"}}', b'{"a": {"data_offsets": [0, null]}}'],
)
def test_a_header_that_is_not_safetensors_is_refused_with_a_message(folder, text):
    for path in members(folder):
        rewritten(path, lambda _: text)
    with pytest.raises(ModelError, match="is not a safetensors file"):
        checkpoints.find("tiny", model_folder=folder)


@pytest.mark.parametrize(
    "line", ["weights: 3", "weights: [[1, x]]", "weights: [[1, .inf, 1, 1]]", "segment: -1", "segment: 1.0e+9", "segment: [1]"]
)
def test_a_definition_with_absurd_numbers_is_refused(folder, line):
    definition = folder / "tiny.yaml"
    models = definition.read_text().splitlines()[0]
    definition.write_text(f"{models}\n{line}\n")
    with pytest.raises(ModelError, match=r"tiny\.yaml: (weights|segment) must be"):
        checkpoints.find("tiny", model_folder=folder)
