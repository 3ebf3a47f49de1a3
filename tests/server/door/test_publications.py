"""Orders, manifests and files: what counts, in which order it is written, and what a crash leaves."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedrec.errors import DataError, SignatureError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.signing.manifest import Manifest
from fedrec.signing.orders import Orders
from server.door.publications import Publications, create_signing_key, load_signing_key

DIGEST = "d" * 64


@pytest.fixture
def publications(tmp_path):
    create_signing_key(tmp_path / "signing.key", tmp_path / "signer.pub")
    return Publications.create(tmp_path / "public", load_signing_key(tmp_path / "signing.key"))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.npy").write_bytes(b"b" * 3_000_000)
    return {"a.json": tmp_path / "a.json", "b.npy": tmp_path / "b.npy"}


def test_a_server_begins_with_orders_that_ask_nothing(publications, tmp_path):
    assert publications.orders() == Orders(sequence=1)
    assert (tmp_path / "signer.pub").read_text().strip() == publications.signer
    assert publications.current("catalogue") is None


@pytest.mark.fault
def test_e65_the_kill_switch_counts_the_orders_up_however_often_it_is_set(publications):
    sequence = [publications.stop(on, "because").sequence for on in (True, True, False)]
    assert sequence == [2, 3, 4]
    assert publications.orders() == Orders(sequence=4, stop=False, reason="because")


def test_what_is_published_is_named_by_hash_signed_and_in_the_orders(publications, files, tmp_path):
    manifest = publications.publish("catalogue", DIGEST, files)
    assert (manifest.version, publications.orders().catalogue_version) == (1, 1)
    text = (tmp_path / "public" / "catalogue" / "1.json").read_bytes()
    assert Manifest.read(text, publications.signer, "catalogue") == manifest == publications.current("catalogue")
    for name, file in manifest.files.items():
        kept = (tmp_path / "public" / "files" / file.sha256).read_bytes()
        assert hashlib.sha256(kept).hexdigest() == file.sha256
        assert (len(kept), kept) == (file.size, files[name].read_bytes())


def test_versions_rise_by_subject_and_old_ones_stay(publications, files, tmp_path):
    publications.publish("catalogue", DIGEST, files)
    publications.publish("model", DIGEST, files)
    publications.publish("model", DIGEST, files)
    orders = publications.orders()
    assert (orders.catalogue_version, orders.model_version, orders.sequence) == (1, 2, 4)
    assert sorted(path.name for path in (tmp_path / "public" / "model").iterdir()) == ["1.json", "2.json"]


def test_the_kill_switch_stays_on_while_something_is_published(publications, files):
    publications.stop(True, "look into it")
    publications.publish("model", DIGEST, files)
    assert (publications.orders().stop, publications.orders().reason) == (True, "look into it")


@pytest.mark.fault
@pytest.mark.parametrize("where", ["publications.files", "publications.manifest"])
def test_a_crash_while_publishing_leaves_the_orders_as_they_were_and_it_can_be_done_again(publications, files, where):
    before = publications.orders()
    plan = FaultPlan(faults=(Fault(where=where, what=What.CRASH),))
    with installed(plan), pytest.raises(InjectedCrashError):
        publications.publish("model", DIGEST, files)
    assert publications.orders() == before
    assert publications.publish("model", DIGEST, files).version == 1
    assert publications.orders().model_version == 1


def test_of_many_changes_at_once_no_two_get_one_sequence_number(publications):
    with ThreadPoolExecutor(4) as pool:
        found = [orders.sequence for orders in pool.map(lambda _: publications.stop(True), range(12))]
    assert sorted(found) == list(range(2, 14))


@pytest.mark.abuse
def test_orders_of_somebody_else_are_not_gone_on_from(publications, tmp_path):
    create_signing_key(tmp_path / "other.key", tmp_path / "other.pub")
    other = load_signing_key(tmp_path / "other.key")
    (tmp_path / "public" / "orders.json").write_bytes(Orders(sequence=9).signed(other))
    with pytest.raises(SignatureError):
        publications.stop(True)
    (tmp_path / "public" / "orders.json").unlink()
    with pytest.raises(DataError, match="devices follow none that are older"):
        publications.orders()


def test_the_signing_key_is_made_once_and_read_only_if_it_is_one(tmp_path):
    create_signing_key(tmp_path / "signing.key", tmp_path / "signer.pub")
    assert (tmp_path / "signing.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(DataError, match="for life"):
        create_signing_key(tmp_path / "signing.key", tmp_path / "signer.pub")
    (tmp_path / "signing.key").write_text("nonsense")
    with pytest.raises(DataError, match="no private key"):
        load_signing_key(tmp_path / "signing.key")
    with pytest.raises(DataError, match="does not exist"):
        load_signing_key(tmp_path / "none.key")
